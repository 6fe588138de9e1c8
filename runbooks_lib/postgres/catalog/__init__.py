"""The catalogue of a database as values: read, compared, told."""
