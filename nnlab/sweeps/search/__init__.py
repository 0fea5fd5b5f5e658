"""Searches: what chooses the next trials of a sweep from the outcomes of earlier ones."""
