"""Phenomena: what a run or a sweep is examined for.

Each has a module of its own name with its result, its detector and its probes; large figures have one beside
it. `base` says what a phenomenon is, `probe` what training records for it."""
