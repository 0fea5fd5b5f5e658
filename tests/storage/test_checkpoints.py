"""Checkpoints: whole or not taken for one, the newest kept, names that lead nowhere else."""

import hashlib
import json

import numpy as np
import pytest

from nnlab.errors import NnlabError
from nnlab.storage import checkpoints
from nnlab.storage.checkpoints import CheckpointMeta, DamagedError
from nnlab.system.files import FileDigest

ARRAYS = {
    "weights": {
        "dense_1/kernel": np.arange(12, dtype=np.float32).reshape(3, 4).T,  # not in C order
        "dense_1/bias": np.float32([1, np.nan]),
        "empty": np.empty((0, 3), np.float32),
    },
    "training": {"step": np.array(7, np.int32), "optimizer/0/mu": np.float32([[2]])},
}
GROUPS = {name: lambda arrays=arrays: arrays for name, arrays in ARRAYS.items()}


def meta(step, tables=None):
    tables = tables or {"metrics": FileDigest(0, hashlib.sha256(b"").hexdigest())}
    return CheckpointMeta(step, False, {"jax": "0.1", "devices": ["cpu"]}, tables, {"step": 3, "loss": 0.5})


@pytest.fixture
def folder(tmp_path):
    checkpoints.save(tmp_path / "checkpoints", meta(7), GROUPS)
    return tmp_path / "checkpoints"


def newest(folder, fits=lambda _: "", most=None):
    told = []
    return checkpoints.newest(folder, most, fits, told.append), told


def test_what_is_read_is_what_was_written(folder):
    found = checkpoints.load(folder / "step-0000000007")
    assert found.meta == meta(7)
    arrays = found.arrays()
    assert arrays.keys() == ARRAYS.keys()
    for group, named in ARRAYS.items():
        assert arrays[group].keys() == named.keys()
        for name, array in named.items():
            there = arrays[group][name]
            assert (there.dtype, there.shape) == (array.dtype, array.shape)
            assert np.array_equal(there, array, equal_nan=array.dtype.kind == "f")


def test_the_same_arrays_are_the_same_bytes(folder, tmp_path):
    checkpoints.save(tmp_path / "other", meta(7), GROUPS)
    for file in (folder / "step-0000000007").iterdir():
        assert file.read_bytes() == (tmp_path / "other" / "step-0000000007" / file.name).read_bytes()


def test_the_newest_ones_are_kept(folder):
    for step in (9, 20, 100):
        checkpoints.save(folder, meta(step), GROUPS)
    assert sorted(place.name for place in folder.iterdir()) == ["step-0000000020", "step-0000000100"]
    found, told = newest(folder)
    assert (found.meta.step, told) == (100, [])
    assert newest(folder, most=99)[0].meta.step == 20


def test_a_damaged_one_is_told_of_and_the_one_before_is_used(folder):
    checkpoints.save(folder, meta(9), GROUPS)
    (folder / "step-0000000009" / "weights.safetensors").write_bytes(b"")
    found, told = newest(folder)
    assert found.meta.step == 7
    assert told == [
        f"{folder}/step-0000000009/weights.safetensors: damaged: it is not what was written; not used"
    ]
    checkpoints.save(folder, meta(9), GROUPS)  # in its place
    assert newest(folder)[0].meta.step == 9


def test_one_that_does_not_fit_its_tables_is_passed_over(folder):
    found, told = newest(folder, fits=lambda _: "metrics.csv is another one")
    assert found is None
    assert "metrics.csv is another one; not used" in told[0]


def test_none_where_there_is_none(tmp_path):
    assert newest(tmp_path / "checkpoints") == (None, [])


@pytest.mark.parametrize("name", ["manifest.json", "weights.safetensors", "training.safetensors"])
@pytest.mark.parametrize("how", ["gone", "folder", "added to"])
def test_a_missing_or_longer_file_is_damage(folder, name, how):
    file = folder / "step-0000000007" / name
    content = file.read_bytes()
    file.unlink()
    if how == "folder":
        file.mkdir()
    if how == "added to":
        file.write_bytes(content + b"\n")
    with pytest.raises(DamagedError, match=name):
        checkpoints.load(folder / "step-0000000007")


def forged(folder, **changes):
    """A manifest with a hash of its own making."""
    file = folder / "step-0000000007" / "manifest.json"
    body = json.loads(file.read_text()) | changes
    body.pop("sha256")

    def text(content):
        return json.dumps(content, indent=1) + "\n"

    sha256 = hashlib.sha256(text(body).encode()).hexdigest()
    file.write_text(text({"sha256": sha256, **body}))


NOTHING = [0, hashlib.sha256(b"").hexdigest()]


@pytest.mark.parametrize(
    "changes",
    [
        {"tables": {"../../mine": NOTHING}},
        {"tables": {"/etc/passwd": NOTHING}},
        {"files": {"../mine.safetensors": NOTHING}},
        {"files": {"manifest.json": NOTHING}},
        {"tables": {"metrics": [0]}},
        {"tables": [1]},
        {"tables": {"metrics": [-1, ""]}},
        {"tables": {}},
        {"step": 3},
        {"step": -5},
        {"step": "7"},
        {"step": True},
        {"done": 1},
        {"best": None},
        {"made_by": "me"},
        {"format": 1},
        {"stopped": None},
        {"format": None},
    ],
    ids=str,
)
def test_a_forged_manifest_is_refused(folder, changes):
    """It is whole by its own hash, and would have files of one's own cut to nothing."""
    forged(folder)
    checkpoints.load(folder / "step-0000000007")  # the forgery itself is a good one
    forged(folder, **changes)
    with pytest.raises(DamagedError, match=r"manifest.json"):
        checkpoints.load(folder / "step-0000000007")


def test_a_forged_file_is_no_traceback(folder):
    content = b"\xff" * 8 + b"{" * 100
    (folder / "step-0000000007" / "weights.safetensors").write_bytes(content)
    position = [len(content), hashlib.sha256(content).hexdigest()]
    forged(folder, files={"weights.safetensors": position})
    with pytest.raises(DamagedError, match="weights"):
        checkpoints.load(folder / "step-0000000007")


def test_a_link_in_the_folder_s_place_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NnlabError, match="symbolic link"):
        checkpoints.save(tmp_path / "checkpoints", meta(7), GROUPS)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_later_ones_and_half_written_ones_are_dropped(folder):
    checkpoints.save(folder, meta(9), GROUPS)
    (folder / ".step-0000000011.123").mkdir()
    checkpoints.drop_after(folder, 7)
    assert [place.name for place in folder.iterdir()] == ["step-0000000007"]


def test_positions_survive(tmp_path):
    tables = {"metrics": FileDigest(12, "ab"), "layers": FileDigest(0, "cd")}
    checkpoints.save(tmp_path / "checkpoints", meta(0, tables), GROUPS)
    assert newest(tmp_path / "checkpoints")[0].meta.tables == tables
