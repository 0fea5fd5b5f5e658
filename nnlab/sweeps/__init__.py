"""Sweeps: many runs of one experiment, each run exactly once, and tables over all of them.

`sweep` and `cross_validation` are the functions of the public API. `trials` derives the trials from the
config, `plan` compares them with what the sweep's `directory` holds, and `cost` estimates the rest. `run`
hands them to an engine (`engines`), whose `worker` processes train them; `recorder` and `tables` write down
how they end. `search` holds methods that choose trials as the sweep goes.
"""
