"""Rows: their values, and digests of them."""
