"""Masking: no secret that can be known here reaches the archive."""
