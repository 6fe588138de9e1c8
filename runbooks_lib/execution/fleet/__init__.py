"""A phase carried out at many databases: each by a run of its own, all of them by one fleet run."""
