"""Sweeps: many runs of one experiment, each exactly once, and the tables over all of them.

`trials` says which runs there are, `directory` where they lie and what is done, `engine` runs them on
worker processes (`worker`), `tables` adds them up, `run` does all of it.
"""
