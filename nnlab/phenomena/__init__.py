"""Phenomena: what a run is examined for, each with its probes, its detector and its figures in one file."""
