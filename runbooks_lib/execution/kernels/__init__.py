"""Kernels for notebooks: forked from one preloaded process, started while another notebook runs."""
