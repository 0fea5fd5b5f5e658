"""A small share of the torture of streaming: memory does not grow with the data."""

from torture.streaming import FEATURES, trained

FEW, MANY = 20_000, 150_000  # examples


def test_memory_does_not_grow_with_data_that_stay_in_their_file(tmp_path):
    few, many = (trained(0.0, examples, 0.02, tmp_path)[0] for examples in (FEW, MANY))
    assert many - few < (MANY - FEW) * FEATURES / 2
