"""The steps of a phase: one module per notebook, of the same name. A step knows nothing of notebooks or archives."""
