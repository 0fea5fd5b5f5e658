"""Training on inputs that stay in their file, to the last bit as on the same ones in memory."""

from collections import OrderedDict

import numpy as np
import pytest
from support import assert_same, experiment_of, tables_of, trained

from nnlab.data import file_rows
from nnlab.errors import ConfigError
from nnlab.training import batches, compilation, segments, streamed_blocks
from nnlab.training.lanes import Lanes
from nnlab.training.loop import train_together

DENSE = ["flatten", {"type": "dense", "units": 8}, "batch_norm", "tanh", {"type": "dense", "units": 3}]
CONVOLUTION = [{"type": "conv2d", "filters": 4, "size": 3}, "relu", "flatten", {"type": "dense", "units": 3}]
CASES = {
    "bytes": {"data": {"normalize": "standardize"}, "record": {"every": {"steps": 4}, "layers": True}},
    "floats": {"data": {"normalize": "standardize", "split": {"validation": 0.2, "test": 0.1}}},
    "convolution": {"model": CONVOLUTION, "augment": ["shift"], "phenomena": ["gradient_flow"]},
    "weighted": {"loss": {"type": "cross_entropy", "class_weights": "balanced"}, "steps": 50},
}


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The same images as bytes and as float32."""
    folder = tmp_path_factory.mktemp("archives")
    random = np.random.default_rng(0)
    x, y = random.integers(0, 256, (400, 6, 6), np.uint8), random.integers(0, 3, 400)
    np.savez(folder / "bytes.npz", x=x, y=y)
    np.savez(folder / "floats.npz", x=(x / np.float32(255)), y=y)
    return folder


def of(archives, name, data=None, model=DENSE, steps=12, **keys):
    data = {"type": "npz", "path": str(archives / f"{name}.npz"), "batch_size": 16, **(data or {})}
    return experiment_of(
        {
            "name": "test",
            "data": data,
            "model": model,
            "optimizer": {"type": "sgd", "momentum": 0.9, "learning_rate": 0.1},
            "train": {"steps": steps},
            "record": {"every": {"steps": 1}},
            **keys,
        }
    )


@pytest.fixture
def stream(monkeypatch):
    """Leaves inputs in their files from then on, and streams so many bytes at once."""

    def start(size):
        monkeypatch.setattr(file_rows, "LARGEST_SHARE", 0.0)
        monkeypatch.setattr(batches, "STREAMED_BYTES", size)
        monkeypatch.setattr(streamed_blocks, "STREAMED_BYTES", size)
        monkeypatch.setattr(compilation, "_compiled", OrderedDict())

    return start


@pytest.mark.parametrize("case", CASES)
def test_a_streamed_training_has_the_bytes_of_one_in_memory(archives, case, stream):
    name = "bytes" if case in ("bytes", "convolution") else "floats"
    resident = of(archives, name, **CASES[case])
    expected = trained(resident)[0]
    stream(16 * 36 * 4 * 5)  # five batches of float32
    streamed = of(archives, name, **CASES[case])
    lanes = Lanes([streamed])
    assert lanes.arguments.data.inputs == ()
    assert len(streamed_blocks.StreamedBlocks(lanes).starts) > 1
    assert streamed.data_hash == resident.data_hash
    assert_same(trained(streamed)[0], expected)


def test_how_much_is_streamed_at_once_changes_nothing(archives, stream, monkeypatch):
    tables = []
    for size in (1, 16 * 36 * 4 * 3, 2**25):
        stream(size)
        monkeypatch.setattr(segments, "MAXIMUM_FIRST_STEPS", 1 + size % 7)
        tables.append(trained(of(archives, "floats", steps=30, record={"every": {"steps": 7}}))[0])
    assert_same(tables[0], tables[1])
    assert_same(tables[0], tables[2])


@pytest.mark.parametrize("own_split", [False, True], ids=["shared data", "each its own"])
def test_streamed_lanes_have_the_bytes_of_lanes_in_memory(archives, own_split, stream):
    def lanes():
        split = {"train": 200, "test": 100, **({} if own_split else {"seed": 0})}
        return [of(archives, "bytes", {"split": split}, seed=seed) for seed in (0, 1)]

    expected = list(train_together(lanes()))
    stream(16 * 36 * 5)
    assert Lanes(lanes()).shares_data == (not own_split)
    found = list(train_together(lanes()))
    for lane in (0, 1):
        tables = [tables_of(chunk[lane] for chunk in chunks) for chunks in (found, expected)]
        assert_same(*tables)


@pytest.mark.parametrize(
    ("keys", "at"),
    [
        ({"data": {"batch_size": "full"}}, "data.batch_size"),
        ({"metrics": ["f1"]}, "metrics"),
        ({"record": {"every": {"steps": 1}, "predictions": True}}, "record.predictions"),
        ({"phenomena": ["gradient_flow", "confusion"]}, r"phenomena\[1\]"),
    ],
    ids=["full", "metrics", "predictions", "phenomenon"],
)
def test_what_needs_all_inputs_at_once_is_refused_in_a_line(archives, keys, at, stream):
    stream(2**20)
    with pytest.raises(ConfigError, match=f"{at}.*needs all inputs at once.*give data.limit") as caught:
        of(archives, "bytes", **keys)
    assert "\n" not in str(caught.value)
