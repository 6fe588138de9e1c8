"""The run folder: what proves that a run did what it says."""
