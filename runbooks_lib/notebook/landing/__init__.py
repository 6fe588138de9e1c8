"""The landing page: what is chosen, whether the servers answer, how far the run is."""
