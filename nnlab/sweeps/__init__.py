"""Sweeps: many runs of one experiment, each run exactly once, and tables over all of them.

`trials` derives the trials from the config, `plan` compares them with what the sweep's `directory` holds,
`run` hands the missing ones to an engine (`engines`), whose `worker` processes train them, and `tables` and
`results` are the outcome. `search` holds methods that choose trials as the sweep goes.
"""
