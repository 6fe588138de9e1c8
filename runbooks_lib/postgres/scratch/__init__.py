"""Servers of our own for proofs: started, enclosed, restored into, replayed in."""
