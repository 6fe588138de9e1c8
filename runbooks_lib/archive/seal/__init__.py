"""The seal of a run: what is sealed, signed and chained, and whether it still is as it was."""
