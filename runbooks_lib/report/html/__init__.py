"""Pages for people: the report, every archived notebook, the archive's index."""
