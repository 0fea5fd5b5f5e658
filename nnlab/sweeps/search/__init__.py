"""Searches: methods that choose the next trials of a sweep from what the trials before came to.

Modules here are imported by commands that only list components, so they import no heavy package.
"""
