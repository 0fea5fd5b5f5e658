"""Bad input to `nnlab train`: exit 2, a clear line a problem at its place, no traceback, nothing written."""

import gzip
import io
import os
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest

BASE = {
    "name": "name: bad",
    "data": "data: {type: xor, examples: 80}",
    "model": "model: {type: mlp, width: 4, depth: 1, outputs: 2}",
    "train": "train: {steps: 4}",
}


def text_with(*lines):
    """BASE with the lines of some keys replaced or added."""
    return "\n".join((BASE | {line.replace("§", "").split(":")[0]: line for line in lines}).values()) + "\n"


def idx(array, code=0x08):
    """An IDX file's bytes."""
    array = np.asarray(array)
    return struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape) + array.tobytes()


def npz_of(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def huge_npz():
    """An archive of a few bytes whose header asks for 10^13 values."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 10)}
    )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", header.getvalue())
        archive.writestr("y.npy", header.getvalue())
    return file.getvalue()


IMAGES, LABELS = np.arange(20 * 4, dtype=np.uint8).reshape(20, 2, 2), np.arange(20, dtype=np.uint8) % 2
FEATURES = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)

FILES = {
    "good.csv": b"a,b,label\n" + b"".join(b"%d,%d,%d\n" % (i, i * i, i % 2) for i in range(20)),
    "nan.csv": b"a,b,label\n1,2,0\n1,NaN,1\n,4,1\n",
    "gap.csv": b"a,b,label\n1,2,0\n1,3,\n",
    "text.csv": b"a,b,label\n1,red,0\n2,blue,1\n",
    "same.csv": b"a,b,label\n1,red,0\n2,red,1\n",
    "many.csv": b"a,label\n" + b"".join(b"w%d,%d\n" % (i, i % 2) for i in range(10_001)),
    "words.csv": b"a,label\n1,red\n2,blue\n",
    "inf.csv": b"a,label\n1,0\ninf,1\n",
    "head.csv": b"a,b,label\n",
    "empty.csv": b"",
    "ragged.csv": b"a,label\n1,0\n1,2,3\n",
    "latin.csv": "größe,label\n1,0\n".encode("latin-1"),
    "binary.csv": bytes(range(256)) * 8,
    "only.csv": b"label\n0\n1\n",
    "short.npz": npz_of(x=FEATURES, y=LABELS[:19]),
    "pickled.npz": npz_of(x=np.array([{"a": 1}] * 20, dtype=object), y=LABELS),
    "noarray.npz": npz_of(inputs=FEATURES, labels=LABELS),
    "nan.npz": npz_of(x=np.full((20, 3), np.nan, np.float32), y=LABELS),
    "flat.npz": npz_of(x=FEATURES[:, 0], y=LABELS),
    "complex.npz": npz_of(x=FEATURES.astype(np.complex64), y=LABELS),
    "scalar.npz": npz_of(x=FEATURES, y=np.float32(1)),
    "none.npz": npz_of(x=FEATURES[:0], y=LABELS[:0]),
    "cut.npz": npz_of(x=FEATURES, y=LABELS)[:200],
    "huge.npz": huge_npz(),
    "text.npz": b"not an archive",
    "zip.npz": b"PK\x03\x04 not an archive",
    "cut_idx/train-images-idx3-ubyte": idx(IMAGES)[:-7],
    "cut_idx/train-labels-idx1-ubyte": idx(LABELS),
    "cut_gz/train-images-idx3-ubyte.gz": gzip.compress(idx(IMAGES))[:-20],
    "cut_gz/train-labels-idx1-ubyte.gz": gzip.compress(idx(LABELS)),
    "head_idx/train-images-idx3-ubyte": idx(IMAGES)[:9],
    "head_idx/train-labels-idx1-ubyte": idx(LABELS),
    "long_idx/train-images-idx3-ubyte": idx(IMAGES) + b"x",
    "long_idx/train-labels-idx1-ubyte": idx(LABELS),
    "short_idx/train-images-idx3-ubyte": idx(IMAGES),
    "short_idx/train-labels-idx1-ubyte": idx(LABELS[:19]),
    "text_idx/train-images-idx3-ubyte": b"not an IDX file",
    "text_idx/train-labels-idx1-ubyte": idx(LABELS),
    "swapped_idx/train-images-idx3-ubyte": idx(LABELS),
    "swapped_idx/train-labels-idx1-ubyte": idx(IMAGES),
    "vast_idx/train-images-idx3-ubyte": struct.pack(">HBB3I", 0, 8, 3, 2**31, 2**31, 2**31),
    "vast_idx/train-labels-idx1-ubyte": idx(LABELS),
    "negative_idx/train-images-idx3-ubyte": idx(IMAGES),
    "negative_idx/train-labels-idx1-ubyte": idx(LABELS.astype(np.int8) - 1, 0x09),
    "no_idx/readme.txt": b"",
}


def data(words):
    return f"data: {{{words}}}"


# lines in place of BASE's, § where the problem is -> what the line says of it
CASES = {
    "unknown key": (
        ("model: {type: mlp, §widht: 4, depth: 1, outputs: 2}"),
        "model.widht: unknown; did you mean 'width'?",
    ),
    "wrong type": (("model: {type: mlp, §width: wide, depth: 1}"), "model.width: 'wide' is not allowed"),
    "recursion in YAML": (("model: §&a [*a]"), "an alias that contains itself"),
    "duplicate key in YAML": ("name: a\n§name: b", "name: given twice, first in line 1"),
    "tag in YAML": (("seed: §!!python/object/apply:os.system [ls]"), "tag"),
    "no YAML": ("seed: §@", "not YAML"),
    "10^12 units": (("§model: [{type: dense, units: 1000000000000}, {type: dense, units: 2}]"), "memory"),
    "10^12 units twice": (("§model: {type: mlp, width: 1000000000000, depth: 2, outputs: 2}"), "memory"),
    "10^16 units": (("model: [{type: dense, §units: 10000000000000000}]"), "is not allowed"),
    "10^12 examples": (
        ("data: {type: xor, §examples: 1000000000000}"),
        "data.examples: 1000000000000 is not",
    ),
    "10^15 features": (("§data: {type: gaussian, features: 1000000000000000, classes: 2}"), "memory"),
    "10^15 by 10^15": (("§data: {type: gaussian, features: [1000000000, 1000000000], classes: 2}"), "memory"),
    "a deep million": (("model: {type: repeat, §times: 1000000, layers: [relu]}"), "is not allowed"),
    "a million by nesting": (
        ("§model: {type: repeat, times: 10000, layers: [{type: repeat, times: 300, layers: [relu]}]}"),
        "comes to 3,000,000 layers",
    ),
    # csv
    "missing file": ((data("type: csv, §path: gone.csv, target: label")), "there is no 'gone.csv'"),
    "NaN in a CSV": (
        (data("type: csv, §path: nan.csv, target: label")),
        "'nan.csv' line 3, column 'b': 'NaN' is a gap",
    ),
    "NaN in a CSV's target": ((data("type: csv, §path: gap.csv, target: label")), "line 3, column 'label'"),
    "infinity in a CSV": (
        (data("type: csv, §path: inf.csv, target: label")),
        "line 3, column 'a': 'inf' is no number",
    ),
    "text in a CSV": (
        (data("type: csv, §path: text.csv, target: label")),
        "line 2, column 'b': 'red' is text",
    ),
    "no such column": (
        (data("type: csv, path: good.csv, §target: lable")),
        "no column 'lable'; did you mean 'label'?",
    ),
    "text to regress": (
        (data("type: csv, path: words.csv, §target: label, task: regression"), "loss: squared_error"),
        "line 2, column 'label': 'red' is text; a regression takes numbers",
    ),
    "CSV without rows": ((data("type: csv, §path: head.csv, target: label")), "no rows"),
    "empty CSV": ((data("type: csv, §path: empty.csv, target: label")), "no CSV table"),
    "ragged CSV": (
        (data("type: csv, §path: ragged.csv, target: label")),
        "line 3 has 3 fields, the header 2",
    ),
    "CSV in another encoding": (
        (data("type: csv, §path: latin.csv, target: label")),
        "line 1 has a byte that is no UTF-8",
    ),
    "a binary file": ((data("type: csv, §path: binary.csv, target: label")), ""),
    "CSV with nothing to learn from": (
        (data("type: csv, §path: only.csv, target: label")),
        "no column beside",
    ),
    "a folder for a CSV": ((data("type: csv, §path: no_idx, target: label")), "'no_idx' is no file"),
    "an empty path": ((data('type: csv, §path: "", target: label')), ""),
    "a path with a NUL": ((data('type: csv, §path: "a\\0b", target: label')), "there is no"),
    "an endless path": ((data(f"type: csv, §path: {'a' * 5000}, target: label")), "there is no"),
    # npz
    "labels of the wrong length": ((data("type: npz, §path: short.npz")), "20 inputs but 19 targets"),
    "pickled objects": ((data("type: npz, §path: pickled.npz")), "no NPZ archive of plain arrays"),
    "no such array": (
        (data("type: npz, path: noarray.npz, §inputs: x")),
        "no array 'x'; it has inputs and labels",
    ),
    "NaN in an NPZ": ((data("type: npz, §path: nan.npz")), "input 0 of example 0"),
    "no axis of features": ((data("type: npz, §path: flat.npz")), "must have an axis of examples"),
    "complex numbers": ((data("type: npz, §path: complex.npz")), "holds no numbers"),
    "a single label": ((data("type: npz, §path: scalar.npz")), ""),
    "no examples": ((data("type: npz, §path: none.npz")), "empty"),
    "NPZ cut off": ((data("type: npz, §path: cut.npz")), "no NPZ archive"),
    "NPZ that asks for 10^13": ((data("type: npz, §path: huge.npz")), ""),
    "text for an NPZ": ((data("type: npz, §path: text.npz")), "no NPZ archive"),
    "half a zip": ((data("type: npz, §path: zip.npz")), "no NPZ archive"),
    "one array for an NPZ": ((data("type: npz, §path: array.npy")), "no NPZ archive"),
    # idx
    "IDX cut off": ((data("type: idx, §path: cut_idx")), "cut off"),
    "gzipped IDX cut off": ((data("type: idx, §path: cut_gz")), "cannot be read"),
    "IDX cut off in its head": ((data("type: idx, §path: head_idx")), "cut off"),
    "IDX too long": ((data("type: idx, §path: long_idx")), "too long"),
    "IDX labels of the wrong length": ((data("type: idx, §path: short_idx")), "20 inputs but 19 targets"),
    "no IDX": ((data("type: idx, §path: text_idx")), "no IDX file"),
    "IDX files swapped": ((data("type: idx, §path: swapped_idx")), "no list of labels"),
    "IDX that asks for 2^93 bytes": ((data("type: idx, §path: vast_idx")), "cut off"),
    "IDX labels below 0": (
        (data("type: idx, §path: negative_idx"), "model: [flatten, {type: dense, units: 1}]"),
        "",
    ),
    "no IDX files": ((data("type: idx, §path: no_idx")), "holds no train-images"),
    "a file for an IDX folder": ((data("type: idx, §path: good.csv")), "is no folder"),
    # what does not fit together
    "too few outputs": (
        ("data: {type: gaussian, classes: 3}", "§model: {type: mlp, width: 4, depth: 1, outputs: 2}"),
        "needs [3]",
    ),
    "inputs not flattened": (
        (
            "data: {type: gaussian, features: [4, 4], classes: 2}",
            "§model: {type: mlp, width: 4, depth: 1, outputs: 2}",
        ),
        "flatten",
    ),
    "residual that changes the shape": (
        ("§model: [{type: residual, layers: [{type: dense, units: 7}]}, {type: dense, units: 2}]"),
        "must keep the shape",
    ),
    "cross entropy of a regression": (
        ("data: {type: diabetes}", "§loss: cross_entropy"),
        "cross_entropy does not fit data with values",
    ),
    "binary loss of ten classes": (
        ("data: {type: digits}", "§loss: binary_cross_entropy"),
        "does not fit data with 10 classes",
    ),
    "label noise on a regression": (
        ("data: {type: diabetes, §label_noise: 0.1}", "loss: squared_error"),
        "needs class labels",
    ),
    "shares above all": (("data: {type: xor, §split: {train: 0.8, validation: 0.3}}"), "add up to more than"),
    "counts above all": (("data: {type: xor, §split: {validation: 401}}"), "add up to more than"),
    "nothing to train on": (("data: {type: xor, §split: {validation: 1.0}}"), "left to train on"),
    "an empty range": (("data: {type: xor, §normalize: {type: min_max, low: 1, high: 0}}"), "must lie below"),
    "a text column without its coding": (
        (data("type: csv, path: text.csv, target: label, §coding: {a: ordinal}")),
        "column 'b': 'red' is text; inputs must be numbers, or be given a 'coding' such as one_hot",
    ),
    "coding of no column": (
        (data("type: csv, path: text.csv, target: label, coding: {b: binary, §bb: ordinal}")),
        "no input column 'bb'; did you mean 'b'?",
    ),
    "a value that is not listed": (
        (data("type: csv, path: text.csv, target: label, coding: {§b: [blu, red]}")),
        "column 'b' holds 'blue' in line 3, which its coding does not list; did you mean 'blu'?",
    ),
    "a value that is listed twice": (
        (data("type: csv, path: text.csv, target: label, coding: {§b: [blue, red, red]}")),
        "column 'b' has 'red' listed twice",
    ),
    "text listed for numbers": (
        (data("type: csv, path: text.csv, target: label, coding: {b: binary, §a: [1, two]}")),
        "column 'a' holds numbers alone, and its coding lists the text 'two'",
    ),
    "a column of one value": (
        (data("type: csv, path: same.csv, target: label, §coding: one_hot")),
        "column 'b' holds one value alone, 'red'; leave it out",
    ),
    "more values than units": (
        (data("type: csv, path: many.csv, target: label, §coding: one_hot")),
        "column 'a' has 10,001 values, too many for a unit each; code it as binary or ordinal",
    ),
    "no such coding": (
        (data("type: csv, path: text.csv, target: label, §coding: onehot")),
        "'onehot' is not allowed; did you mean 'one_hot'?",
    ),
    "a fold of nothing": (("data: {type: xor, split: {§fold: 0}}"), "give 'folds' too"),
    "a fold too far": (("data: {type: xor, split: {folds: 4, §fold: 4}}"), "4 is none of 4 folds"),
    "one fold": (("data: {type: xor, split: {§folds: 1}}"), "folds takes a whole number >= 2"),
    "folds beside shares": (("data: {type: xor, split: {folds: 4, §train: 0.5}}"), "leave out 'train'"),
    "folds beside a validation set": (
        ("data: {type: xor, split: {folds: 4, §validation: 0.2}}"),
        "leave out 'validation'",
    ),
    "more folds than examples": (
        ("data: {type: xor, examples: 80, split: {§folds: 81}}"),
        "81 folds of 80 examples; there cannot be more",
    ),
    "a regression stratified": (
        ("data: {type: diabetes, split: {§stratify: true}}", "loss: squared_error"),
        "needs class labels",
    ),
    "a ravine of condition 0": (("data: {type: ravine, §condition: 0}"), "condition takes a number >= 1"),
    "an operation of no table": (
        ("data: {type: boolean, §operation: nor}"),
        "operation takes and, or, nand or xor",
    ),
    "a negative epsilon": (
        ("data: {type: xor, normalize: {type: whiten, §epsilon: -1}}"),
        "epsilon takes a number >= 0",
    ),
    "overfitting without validation examples": (
        ("data: {type: xor, split: {train: 0.8, test: 0.2}}", "phenomena: [§overfitting]"),
        "overfitting is seen on validation examples; give data.split a validation share",
    ),
    "training mode without validation examples": (
        ("data: {type: xor, split: {train: 0.8, test: 0.2}}", "phenomena: [grokking, §training_mode]"),
        "training_mode compares with validation examples; give data.split a validation share",
    ),
    "a trajectory of many weights": (
        ("phenomena: [§trajectory]"),
        "trajectory is of two weights: one dense layer from 2 inputs to 1 output, use_bias: false, on data",
    ),
    "a share of weights below 0": (
        ("phenomena: [{type: sparsity, §below: 0}]"),
        "phenomena[0].below: 0 is not allowed",
    ),
    "trajectories without a sweep": (
        ("phenomena: [§{type: trajectories, along: optimizer}]"),
        "trajectories is seen across a sweep; add a 'sweep:' block",
    ),
    "expectation of nothing": (("expect: {§grokking.delay: {min: 1}}"), "is no number of this run"),
}


@pytest.fixture
def bad(folder):
    """A folder with files that are wrong in many ways."""
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    np.save(folder / "array.npy", FEATURES)
    return folder


def contents(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*")}


def refused(nnlab, folder, *arguments):
    """Run, and see that it is refused in lines and that nothing is written; the lines."""
    before = contents(folder)
    result = nnlab("train", *arguments)
    assert result.exit_code == 2, result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert contents(folder) == before
    lines = result.stderr.splitlines()
    assert lines
    assert all(line.isprintable() for line in lines)
    return lines


@pytest.mark.parametrize(("lines", "says"), CASES.values(), ids=CASES)
def test_bad_input_is_one_line_at_its_place(lines, says, bad, nnlab, marked):
    text, (place,) = marked(text_with(lines) if isinstance(lines, str) else text_with(*lines))
    (bad / "bad.yaml").write_text(text)
    (line,) = refused(nnlab, bad, "bad.yaml")
    assert line.startswith(f"bad.yaml:{place}: ")
    assert says in line


def test_a_trillion_units_are_refused_before_the_data_are_loaded(folder, nnlab):
    (folder / "bad.yaml").write_text(
        text_with(
            "data: {type: csv, path: gone.csv, target: y}", "model: [{type: dense, units: 1000000000000}]"
        )
    )
    (line,) = refused(nnlab, folder, "bad.yaml")
    assert line.startswith("bad.yaml:3:1: model: training needs at least ")


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        (["train: {epochs: 1.0e+12}"], "train"),
        (["train: {epochs: 1.0e+300}"], "train"),
        (["train: {steps: 2000000000}", "record: {every: {steps: 1}}"], "record"),
        (["train: {epochs: 1.0e+12}", "record: {log_spaced: 10}"], "train"),
    ],
)
def test_endless_training_is_refused_and_does_not_eat_the_memory(folder, lines, key):
    (folder / "bad.yaml").write_text(text_with(*lines))
    limited = ["sh", "-c", 'ulimit -v 2097152; exec "$@"', "sh", sys.executable, "-m", "nnlab"]
    command = [*limited, "train", "bad.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr[-500:]
    (line,) = done.stderr.splitlines()
    assert line.startswith("bad.yaml:")
    assert f": {key}" in line
    assert not (folder / "results").exists()


def test_several_problems_are_a_line_each(folder, nnlab):
    (folder / "bad.yaml").write_text(text_with("modle: 1", "seed: x", "train: {step: 4}"))
    lines = refused(nnlab, folder, "bad.yaml")
    assert [line.split(" ")[0] for line in lines] == ["bad.yaml:4:9:", "bad.yaml:5:1:", "bad.yaml:6:1:"]


def test_validate_says_what_is_wrong_with_each_file(bad, nnlab):
    names = []
    for words in (
        "seed: x",
        "zzz: 1",
        "loss: binary_cross_entropy\ndata: digits",
        "data: {type: csv, path: x, target: y}",
    ):
        names.append(f"bad{len(names)}.yaml")
        (bad / names[-1]).write_text(text_with(*words.split("\n")))
    (bad / "good.yaml").write_text(text_with())
    before = contents(bad)
    result = nnlab("validate", *names, "good.yaml")
    assert result.exit_code == 2
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == names
    assert result.stdout.startswith("good.yaml: ok")
    assert contents(bad) == before


# --- files and folders in the wrong place ------------------------------------------------------------------


@pytest.fixture
def good(folder):
    (folder / "good.yaml").write_text(text_with())
    return folder


def test_a_missing_config(folder, nnlab):
    (line,) = refused(nnlab, folder, "gone.yaml")
    assert line.startswith("gone.yaml: no such file")


def test_a_folder_as_config(folder, nnlab):
    (folder / "configs").mkdir()
    (line,) = refused(nnlab, folder, "configs")
    assert line.startswith("configs: cannot be read")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"name: a\0", b"", b"- a\n", b"#" * 300_000, b"[" * 20_000])
def test_a_config_that_is_no_text(folder, nnlab, content):
    (folder / "bad.yaml").write_bytes(content)
    (line,) = refused(nnlab, folder, "bad.yaml")
    assert line.startswith("bad.yaml:")


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_out_at_a_file(good, nnlab, force):
    (good / "place").write_text("mine")
    (line,) = refused(nnlab, good, "good.yaml", "--out", "place", *force)
    assert line.startswith("place: ")


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_out_at_a_folder_that_is_no_run(good, nnlab, force):
    """--force clears *.csv and plots/ of an earlier run; nobody's other files."""
    (good / "place").mkdir()
    (good / "place" / "precious.csv").write_text("mine")
    (line,) = refused(nnlab, good, "good.yaml", "--out", "place", *force)
    assert line.startswith("place: ")


def test_out_at_another_config_s_run(finished, good, nnlab):
    before = contents(finished)
    (line,) = refused(nnlab, good, "good.yaml", "--out", finished)
    assert line.startswith(f"{finished}: holds a run of another config")
    assert contents(finished) == before


def test_out_below_a_file(good, nnlab):
    (good / "place").write_text("mine")
    before = contents(good)
    result = nnlab("train", "good.yaml", "--out", "place/run", "--quiet")
    assert result.exit_code in (1, 2)
    (line,) = result.stderr.splitlines()
    assert line.startswith("place/run: cannot be written")
    assert contents(good) == before


def test_a_platform_that_is_not_there(good, nnlab_process):
    before = contents(good)
    environment = {k: v for k, v in os.environ.items() if k != "JAX_PLATFORMS"}
    done = nnlab_process("train", "good.yaml", "--platform", "gpu", env=environment)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("--platform gpu: ")
    assert contents(good) == before


def test_threads_that_the_environment_contradicts(good, nnlab, nnlab_process):
    before = contents(good)
    environment = os.environ | {"PJRT_NPROC": "1"}
    done = nnlab_process("train", "good.yaml", "--threads", "2", env=environment)
    assert done.returncode == 2, done.stderr
    assert done.stderr == "--threads 2: PJRT_NPROC is 1; leave one of the two out\n"
    (line,) = refused(nnlab, good, "good.yaml", "--threads", "2")
    assert line.startswith("--threads 2: JAX has started with 1 in this process")
    assert contents(good) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["good.yaml", "--platform", "abacus"],
        ["good.yaml", "--threads", "0"],
        ["good.yaml", "--threads", "all"],
        ["good.yaml", "--no-such-option"],
        [],
        ["good.yaml", "name"],
        ["good.yaml", "~nothing"],
    ],
)
def test_wrong_usage(good, nnlab, arguments):
    refused(nnlab, good, *arguments)
