"""Dumps of schemas and rows, and what stands in them."""
