"""Training on inputs that are bytes on the device, to the last bit as on the same numbers as float32."""

import numpy as np
import pytest
from support import assert_same, experiment_of, tables_of, trained

from nnlab.training.lanes import Lanes
from nnlab.training.loop import train_together

DENSE = ["flatten", "batch_norm", {"type": "dense", "units": 8}, "tanh", {"type": "dense", "units": 3}]
CONVOLUTION = [
    {"type": "conv2d", "filters": 4, "size": 3},
    "relu",
    "flatten",
    {"type": "dense", "units": 3},
]
CASES = {
    "plain": {
        "data": {"batch_size": 16},
        "metrics": ["f1"],
        "record": {"every": {"steps": 4}, "predictions": True},
    },
    "scaled": {"data": {"normalize": "standardize", "batch_size": 16}, "augment": [{"type": "mixup"}]},
    "full": {"data": {"normalize": "min_max", "batch_size": "full"}},
    "convolution": {
        "data": {"batch_size": 50},
        "model": CONVOLUTION,
        "augment": ["shift"],
    },
}


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The same images as bytes and as float32."""
    folder = tmp_path_factory.mktemp("archives")
    x, y = np.random.default_rng(0).integers(0, 256, (700, 6, 6), np.uint8), np.arange(700) % 3
    np.savez(folder / "bytes.npz", x=x, y=y)
    np.savez(folder / "floats.npz", x=x.astype(np.float32), y=y)
    return folder


def of(archives, name, data, model=DENSE, **keys):
    return experiment_of(
        {
            "name": "test",
            "data": {"type": "npz", "path": str(archives / f"{name}.npz"), **data},
            "model": model,
            "optimizer": {"type": "sgd", "momentum": 0.9, "learning_rate": 0.1},
            "train": {"steps": 12},
            "record": {"every": {"steps": 1}},
            **keys,
        }
    )


@pytest.mark.parametrize("case", CASES)
def test_a_training_on_bytes_has_the_numbers_of_one_on_float32(archives, case):
    of_bytes, floats = (of(archives, name, **CASES[case]) for name in ("bytes", "floats"))
    device = [Lanes([each]).arguments.data.inputs for each in (of_bytes, floats)]
    assert [array.dtype for array in device] == ["uint8", "float32"]
    assert device[1].nbytes == 4 * device[0].nbytes
    if case != "full":  # whose batch is all numbers
        assert of_bytes.footprint.data_bytes < floats.footprint.data_bytes
    assert_same(trained(of_bytes)[0], trained(floats)[0])


def test_lanes_whose_bytes_are_scaled_differently_train_as_each_alone(archives):
    scalings = [None, "standardize", "whiten"]
    each = [of(archives, "bytes", {"normalize": normalize, "batch_size": 16}) for normalize in scalings]
    chunks = list(train_together(each))
    for number, one in enumerate(each):
        together = tables_of(chunk[number] for chunk in chunks)
        alone = trained(one)[0]
        for column, values in alone["metrics"].items():
            np.testing.assert_allclose(together["metrics"][column], values, rtol=2e-5, atol=1e-6)
