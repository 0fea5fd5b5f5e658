"""A small share of what `make torture` does to finished runs and sweeps."""

from torture.hostile import hostile


def test_damaged_directories_are_read_or_refused(tmp_path):
    assert hostile(tmp_path, cases=12, seed=100, plots_every=6, timed=False).bad == []
