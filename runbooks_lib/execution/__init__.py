"""Headless execution: our papermill engine, and the runner that carries a phase through its notebooks."""
