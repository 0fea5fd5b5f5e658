"""Inputs that stay bytes, against the same numbers as float32."""

import numpy as np
import pytest
from support import load

from nnlab.data.inputs import ByteInputs

TOGETHER = {"type": "standardize", "together": True}
LOW = {"type": "min_max", "low": -1.0, "high": 3.0}


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The same images as bytes and as float32."""
    folder = tmp_path_factory.mktemp("archives")
    random = np.random.default_rng(0)
    x, y = random.integers(0, 256, (900, 4, 5), np.uint8), np.arange(900) % 3
    x[:, 0, 0] = 7  # a constant feature
    parts = {"y": y[:700], "y_test": y[700:]}
    for name, values in (("bytes", x), ("floats", x.astype(np.float32))):
        np.savez(folder / f"{name}.npz", x=values[:700], x_test=values[700:], **parts)
    return folder


def both(archives, **keys):
    return [
        load({"type": "npz", "path": str(archives / f"{name}.npz"), **keys}) for name in ("bytes", "floats")
    ]


@pytest.mark.parametrize("normalize", [None, "standardize", TOGETHER, "min_max", LOW], ids=str)
@pytest.mark.parametrize("split", [None, {"validation": 0.2, "test": 0.3}], ids=["own", "pooled"])
def test_bytes_stand_for_the_numbers_that_float32_inputs_are_scaled_to(archives, normalize, split):
    of_bytes, floats = both(archives, normalize=normalize, split=split, keep_classes=[2, 0])
    assert of_bytes.splits.keys() == floats.splits.keys()
    for name, part in of_bytes.splits.items():
        assert isinstance(part.inputs, ByteInputs)
        expected = floats.splits[name].inputs
        assert (part.inputs.shape, part.inputs.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_array_equal(np.asarray(part.inputs), expected)
        np.testing.assert_array_equal(np.asarray(part.inputs[3:9]), expected[3:9])
        per_feature = normalize in ("standardize", "min_max", LOW)
        assert part.inputs.table.shape == ((256, 4, 5) if per_feature else (256,))
    assert of_bytes.hash == floats.hash
    inputs = np.random.default_rng(1).uniform(0, 255, (5, 4, 5))
    np.testing.assert_array_equal(of_bytes.scale(inputs), floats.scale(inputs))


@pytest.mark.parametrize(
    "keys", [{"normalize": "whiten"}, {"normalize": "standardize", "limit": 100}], ids=str
)
def test_bytes_become_numbers_where_a_table_would_not_do_or_not_save(archives, keys):
    of_bytes, floats = both(archives, **keys)
    for name, part in of_bytes.splits.items():
        assert isinstance(part.inputs, np.ndarray)
        np.testing.assert_array_equal(part.inputs, floats.splits[name].inputs)


def test_bytes_take_a_quarter_of_the_memory(archives):
    of_bytes, floats = both(archives)
    assert 4 * of_bytes.train.inputs.nbytes == floats.train.inputs.nbytes


def test_reconstructed_targets_are_the_numbers(archives):
    of_bytes, floats = both(archives, normalize="min_max", reconstruct=True)
    np.testing.assert_array_equal(of_bytes.train.targets, floats.train.targets)
