"""Inputs that stay in their file, against the same ones in memory."""

import numpy as np
import pytest
from support import idx_bytes, load

from nnlab.data import file_rows
from nnlab.data.file_rows import ArrayFile, FileRows
from nnlab.data.inputs import blocks_of
from nnlab.errors import DiskError, InvalidValue

TOGETHER = {"type": "standardize", "together": True}
TYPES = ("uint8", "float32", "float16", ">i2", "bool")


@pytest.fixture
def archives(tmp_path):
    """The same numbers in each type, with test examples, in archives; and as images in IDX files."""
    random = np.random.default_rng(0)
    x, y = random.integers(0, 2, (90, 4, 3)), np.arange(90) % 3
    for dtype in TYPES:
        values = (x * (1 if dtype == "bool" else random.integers(1, 100, (4, 3)))).astype(dtype)
        np.savez(tmp_path / f"{dtype}.npz", x=values[:60], y=y[:60], x_test=values[60:], y_test=y[60:])
    for stem, part in (("train", slice(60)), ("t10k", slice(60, 90))):
        (tmp_path / f"{stem}-images-idx3-ubyte").write_bytes(idx_bytes((127 * x[part]).astype(np.uint8)))
        (tmp_path / f"{stem}-labels-idx1-ubyte").write_bytes(idx_bytes(y[part].astype(np.uint8)))
    return tmp_path


@pytest.fixture
def too_large(monkeypatch):
    """Leaves whatever can be left in its file there."""
    return lambda: monkeypatch.setattr(file_rows, "LARGEST_SHARE", 0.0)


def numbers(inputs):
    return np.concatenate([np.asarray(block) for block in blocks_of(inputs)])


def assert_same_data(streamed, resident):
    assert streamed.streamed
    assert not resident.streamed
    assert streamed.splits.keys() == resident.splits.keys()
    for name, part in streamed.splits.items():
        expected = resident.splits[name]
        assert (part.inputs.shape, part.inputs.dtype) == (expected.inputs.shape, expected.inputs.dtype)
        np.testing.assert_array_equal(numbers(part.inputs), np.asarray(expected.inputs))
        np.testing.assert_array_equal(part.targets, expected.targets)
        np.testing.assert_array_equal(part.rows, expected.rows)
    assert streamed.hash == resident.hash


@pytest.mark.parametrize("normalize", [None, "standardize", TOGETHER, "min_max"], ids=str)
@pytest.mark.parametrize("dtype", TYPES)
def test_an_archive_that_is_left_in_its_file_has_the_same_examples(archives, dtype, normalize, too_large):
    config = {
        "type": "npz",
        "path": str(archives / f"{dtype}.npz"),
        "normalize": normalize,
        "label_noise": 0.2,
    }
    resident = load(config)
    too_large()
    assert_same_data(load(config), resident)


@pytest.mark.parametrize(
    "keys",
    [
        {"split": {"train": 0.5, "validation": 0.2, "test": 0.3, "stratify": True}},
        {"split": {"folds": 5, "fold": 2, "test": 20}, "normalize": "standardize"},
        {"limit": 20, "keep_classes": [2, 0]},
    ],
    ids=["pooled", "folds", "chosen"],
)
@pytest.mark.parametrize("kind", ["npz", "idx"])
def test_splits_choose_rows_of_the_files(archives, kind, keys, too_large):
    config = {"type": kind, "path": str(archives / ("float32.npz" if kind == "npz" else "")), **keys}
    resident = load(config)
    too_large()
    assert_same_data(load(config), resident)


def test_rows_are_those_of_the_arrays_in_any_order(tmp_path):
    arrays = [np.arange(100 + n, 160 + n, dtype=">i4").reshape(20, 3) for n in (0, 60)]
    rows = []
    for number, array in enumerate(arrays):
        file = tmp_path / str(number)
        file.write_bytes(b"head" + array.tobytes())
        rows.append(FileRows.of(ArrayFile.of(file, 4, array.shape, array.dtype)))
    both, expected = rows[0].and_those_of(rows[1]).and_those_of(rows[0]), np.concatenate([*arrays, arrays[0]])
    assert len(both.files) == 2
    chosen = np.random.default_rng(0).integers(0, 60, 200)
    for picked in (slice(None), slice(15, 45), slice(0, 0), chosen, np.sort(chosen)):
        np.testing.assert_array_equal(both[picked].read(), expected[picked])
    assert both.read().dtype == np.int32


def test_what_is_left_after_limit_is_loaded_where_it_fits(archives, monkeypatch):
    config = {"type": "npz", "path": str(archives / "float32.npz")}
    limited = load({**config, "limit": 5, "normalize": "whiten"})
    monkeypatch.setattr(file_rows, "available_bytes", lambda: 8 * 2000)  # the file has 4320
    assert load(config).streamed
    found = load({**config, "limit": 5, "normalize": "whiten"})
    assert isinstance(found.train.inputs, np.ndarray)
    assert found.hash == limited.hash


def test_a_compressed_archive_is_loaded(archives, too_large):
    with np.load(archives / "float32.npz") as archive:
        np.savez_compressed(archives / "small.npz", **archive)
    too_large()
    assert not load({"type": "npz", "path": str(archives / "small.npz")}).streamed


def test_what_needs_all_inputs_is_refused(archives, too_large):
    np.savez(archives / "float64.npz", x=np.ones((20, 3)), y=np.arange(20) % 2)
    config = {"type": "npz", "path": str(archives / "float32.npz")}
    too_large()
    for keys, at, said in (
        ({"normalize": "whiten"}, ("normalize",), "needs all inputs at once"),
        ({"reconstruct": True}, (), "needs all inputs at once"),
        ({"path": str(archives / "float64.npz")}, ("path",), "save them as float32"),
    ):
        with pytest.raises(InvalidValue, match=said) as caught:
            load({**config, **keys})
        assert caught.value.at == at
        assert "\n" not in str(caught.value)


def test_a_number_that_is_not_finite_is_found_in_the_file(tmp_path, too_large):
    x = np.ones((50, 3), np.float32)
    x[37, 2] = np.nan
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(50) % 2)
    too_large()
    with pytest.raises(InvalidValue, match=r"input 2 of example 37 .* is not a finite float32 number \(1 s"):
        load({"type": "npz", "path": str(tmp_path / "a.npz")})


def test_a_file_that_changes_meanwhile_is_told_of(archives, too_large):
    file = archives / "float32.npz"
    too_large()
    data = load({"type": "npz", "path": str(file)})
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with pytest.raises(DiskError, match="has changed since"):
        numbers(data.train.inputs)
    file.unlink()
    with pytest.raises(DiskError, match="cannot be read"):
        numbers(data.train.inputs)
