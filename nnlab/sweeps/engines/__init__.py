"""Engines run the trials of a sweep: on worker processes of this machine (`local`)."""
