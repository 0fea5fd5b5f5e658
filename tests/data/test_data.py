"""Data sets and their preparation, against their sources and against NumPy."""

import gzip
import os
import random
import struct

import jax
import numpy as np
import pandas
import pytest
from PIL import Image
from support import load

from nnlab.config.resolve import resolve
from nnlab.errors import InvalidValue
from nnlab.registry import build, components

DEFAULT_SPLIT = {"train": 0.7, "validation": 0.15, "test": 0.15}
WHOLE = {"train": 1.0}


def write_idx(path, array, kind):
    content = bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_images(folder, stem, count, suffix="", separator="-", classes=3, seed=0):
    images = np.random.default_rng(seed).integers(0, 256, (count, 4, 5)).astype(np.uint8)
    labels = (np.arange(count) % classes).astype(np.uint8)
    write_idx(folder / f"{stem}-images{separator}idx3-ubyte{suffix}", images, 0x08)
    write_idx(folder / f"{stem}-labels{separator}idx1-ubyte{suffix}", labels, 0x08)
    return images, labels


@pytest.fixture
def files(tmp_path):
    """A small file, or folder, for each data set that reads one."""
    write_images(tmp_path, "train", 30)
    write_images(tmp_path, "t10k", 12, seed=1)
    x = np.random.default_rng(0).standard_normal((40, 3))
    np.savez(tmp_path / "some.npz", x=x, y=np.arange(40) % 4)
    rows = "\n".join(f"{a},{b},{c},{'xyz'[i % 3]}" for i, (a, b, c) in enumerate(x))
    (tmp_path / "some.csv").write_text(f"a,b,c,kind\n{rows}\n")
    pandas.read_csv(tmp_path / "some.csv").to_parquet(tmp_path / "some.parquet")
    (tmp_path / "some.txt").write_text("".join(np.random.default_rng(0).choice([*"abcd\n"], 280)))
    for kind in ("ant", "bee"):
        (tmp_path / "folder" / kind).mkdir(parents=True)
        for i in range(12):
            pixels = np.random.default_rng(i).integers(0, 256, (5, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "folder" / kind / f"{i}.png")
    return tmp_path


# data set -> (arguments, input shape, number of classes, number of examples)
CASES = {
    "mnist": ({}, (28, 28), 10, 400),
    "fashion_mnist": ({"size": 16}, (16, 16), 10, 400),
    "cifar10": ({}, (32, 32, 3), 10, 400),
    "image_folder": ({"path": "{files}/folder"}, (5, 6, 3), 2, 24),
    "digits": ({}, (64,), 10, 1797),
    "breast_cancer": ({}, (30,), 2, 569),
    "wine": ({}, (13,), 3, 178),
    "diabetes": ({}, (10,), 0, 442),
    "mnist1d": ({"examples": 200}, (40,), 10, 200),
    "csv": ({"path": "{files}/some.csv", "target": "kind"}, (3,), 3, 40),
    "parquet": ({"path": "{files}/some.parquet", "target": "kind"}, (3,), 3, 40),
    "npz": ({"path": "{files}/some.npz"}, (3,), 4, 40),
    "text": ({"path": "{files}/some.txt", "length": 8}, (8,), 5, 34),
    "idx": ({"path": "{files}"}, (4, 5), 3, 42),
    "modular_arithmetic": ({"modulus": 7}, (14,), 7, 49),
    "gaussian": ({"examples": 300, "features": [4, 6], "classes": 7}, (4, 6), 7, 300),
    "spirals": ({"examples": 90, "classes": 3}, (2,), 3, 90),
    "sawtooth": ({"folds": 2, "examples": 30, "test_examples": 20}, (1,), 2, 50),
    "ring_of_gaussians": ({"examples": 60, "modes": 5, "test_examples": 20}, (2,), 5, 80),
    "sparse_features": ({"examples": 60, "features": 5, "density": 0.4, "test_examples": 20}, (5,), 0, 80),
    "sparse_parity": ({"features": 9, "relevant": 2, "examples": 60, "test_examples": 20}, (9,), 2, 80),
    "xor": ({"examples": 80}, (2,), 2, 80),
    "wave": ({"examples": 30, "test_examples": 50}, (1,), 0, 80),
    "sines": ({"examples": 50}, (1,), 0, 100),
    "linear_teacher": ({"examples": 40, "features": 6, "seen": 4, "test_examples": 30}, (4,), 0, 70),
    "relu_teacher": ({"examples": 40, "features": 6, "test_examples": 30}, (6,), 0, 70),
    "recall": ({"length": 6, "examples": 60, "symbols": 3}, (6, 3), 3, 60),
    "adding": ({"length": 6, "examples": 60}, (6, 2), 0, 60),
    "boolean": ({}, (2,), 2, 4),
    "ravine": ({}, (2,), 0, 2),
}
TARGETS = {"sparse_features": 5}  # the inputs themselves
POSITIONS = {"text": (8,)}  # with a class at each
BY_PLACE = ("text",)  # divided so, and not at random
UNDIVIDED = ("boolean", "ravine")  # trained on as a whole
# from the run's seed
DRAWN = (
    "gaussian",
    "ring_of_gaussians",
    "sparse_features",
    "sparse_parity",
    "spirals",
    "xor",
    "wave",
    "linear_teacher",
    "relu_teacher",
    "recall",
    "adding",
)


def config_of(name, files, **more):
    arguments = CASES[name][0]
    filled = {k: v.format(files=files) if isinstance(v, str) else v for k, v in arguments.items()}
    return {"type": name, **filled, **more}


def rows_of(*parts):
    """Examples as sorted rows of inputs and target, so that two collections can be compared."""
    rows = np.concatenate(
        [
            np.concatenate(
                [np.asarray(part.inputs).reshape(len(part), -1), part.targets.reshape(len(part), -1)], 1
            )
            for part in parts
            if part is not None
        ]
    )
    return rows[np.lexsort(rows.T)]


@pytest.mark.parametrize("name", components("dataset"))
def test_every_dataset_has_a_case(name):
    assert name in CASES, f"give the data set '{name}' a case in CASES"


@pytest.mark.parametrize("name", BY_PLACE)
def test_a_division_by_place_is_that_of_any_seed(name, files):
    config = config_of(name, files, split=DEFAULT_SPLIT)
    assert load(config, 0).hash == load(config, 1).hash


@pytest.mark.parametrize("name", CASES)
def test_every_dataset_loads(name, files):
    _, shape, classes, count = CASES[name]
    data = load(config_of(name, files))
    assert sum(len(part) for part in data.splits.values()) == count
    assert ("test" in data.splits) == (name not in UNDIVIDED)
    for part in data.splits.values():
        assert part.inputs.dtype == np.float32
        assert part.inputs.shape == (len(part), *shape)
        assert np.isfinite(part.inputs).all()
        assert part.classes == classes
        if classes:
            assert part.targets.dtype == np.int32
            assert part.targets.shape == (len(part), *POSITIONS.get(name, ()))
            assert set(np.unique(part.targets)) <= set(range(classes))
        else:
            assert part.targets.dtype == np.float32
            assert part.targets.shape == (len(part), TARGETS.get(name, 1))
            assert np.isfinite(part.targets).all()
    if classes:
        assert set(np.unique(data.train.targets)) == set(range(classes))


@pytest.mark.parametrize("name", sorted(set(CASES) - {*UNDIVIDED, *BY_PLACE}))
def test_same_seed_same_bytes_other_seed_other_split(name, files):
    config = config_of(name, files, split=DEFAULT_SPLIT)
    first, again, other = load(config, 0), load(config, 0), load(config, 1)
    assert first.hash == again.hash
    assert first.hash != other.hash
    for part in first.splits:
        np.testing.assert_array_equal(first.splits[part].inputs, again.splits[part].inputs)
    assert not np.array_equal(first.train.inputs, other.train.inputs)
    if name not in DRAWN:
        np.testing.assert_array_equal(rows_of(*first.splits.values()), rows_of(*other.splits.values()))


# --- splits ----------------------------------------------------------------------------------------------


@pytest.fixture
def numbered(tmp_path):
    """101 examples, each its own number; 20 more in a test set of their own, in another file."""
    x, y = np.arange(121.0)[:, None], np.arange(121) % 3
    np.savez(tmp_path / "one.npz", x=x[:101], y=y[:101])
    np.savez(tmp_path / "two.npz", x=x[:101], y=y[:101], x_test=x[101:], y_test=y[101:])
    return tmp_path


@pytest.mark.parametrize(
    ("file", "split", "sizes"),
    [
        ("one", None, (71, 15, 15)),
        ("one", {"train": 0.7, "validation": 0.15, "test": 0.15}, (71, 15, 15)),
        ("one", {"train": 60, "validation": 20, "test": 21}, (60, 20, 21)),
        ("one", {"train": 30, "validation": 20}, (30, 20, 0)),
        ("one", {"train": 0.25}, (25, 0, 0)),
        ("one", {"validation": 11, "test": 7}, (83, 11, 7)),
        ("one", {"validation": 0.2}, (81, 20, 0)),
        ("one", {"train": 1.0}, (101, 0, 0)),
        ("one", {"train": 1}, (1, 0, 0)),
        ("two", None, (101, 0, 20)),
        ("two", {"validation": 30}, (71, 30, 20)),
        ("two", {"train": 40, "validation": 5}, (40, 5, 20)),
        ("two", {"train": 0.5, "validation": 0.25, "test": 0.25}, (60, 31, 30)),
        ("two", {"test": 60}, (61, 0, 60)),
        ("two", {"test": 0}, (121, 0, 0)),
    ],
)
def test_splits_are_disjoint_and_of_the_stated_sizes(numbered, file, split, sizes):
    config = {"type": "npz", "path": str(numbered / f"{file}.npz")}
    data = load(config if split is None else {**config, "split": split})
    found = [0 if part is None else len(part) for part in (data.train, data.validation, data.test)]
    np.testing.assert_allclose(found, sizes, atol=0 if split is None or _counts(split) else 1)
    assert sum(found) == sum(sizes)
    numbers = np.concatenate([part.inputs[:, 0] for part in data.splits.values()])
    assert len(set(numbers)) == len(numbers)
    for part in data.splits.values():
        np.testing.assert_array_equal(part.targets, part.inputs[:, 0] % 3)
    if file == "two" and (split is None or "test" not in split):
        np.testing.assert_array_equal(np.sort(data.test.inputs[:, 0]), np.arange(101, 121))


def _counts(split):
    return all(isinstance(share, int) for share in split.values())


@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.75])
def test_a_count_is_exact_beside_a_fraction(numbered, fraction):
    config = {"type": "npz", "path": str(numbered / "one.npz")}
    wanted, found = {}, {}
    for limit in (10, 11, 12, 13, 14, 15, 17, 20):
        for count in range(1, limit - round(fraction * limit)):
            data = load({**config, "limit": limit, "split": {"train": fraction, "test": count}})
            wanted[limit, count], found[limit, count] = count, len(data.test or ())
            assert abs(len(data.train) - fraction * limit) <= 0.5
    assert found == wanted


def test_the_split_is_drawn_from_all_examples(numbered):
    config = {"type": "npz", "path": str(numbered / "two.npz"), "split": DEFAULT_SPLIT}
    tests = [set(load(config, seed).test.inputs[:, 0]) for seed in range(4)]
    assert len(set().union(*tests)) > len(tests[0])
    assert any(number > 100 for number in tests[0]), "the own test examples are pooled"
    assert any(number <= 100 for number in tests[0])


@pytest.mark.parametrize(
    "split",
    [
        {"train": 90, "validation": 20},
        {"train": 0.9, "validation": 0.2},
        {"validation": 60, "test": 60},
        {"train": 0.0, "test": 0.5},
        {"validation": 0.5, "test": 0.5},
    ],
)
def test_splits_that_cannot_be_are_refused(numbered, split):
    config = {"type": "npz", "path": str(numbered / "one.npz"), "split": split}
    problems = []
    resolved = resolve("dataset", config, (), problems)
    if problems:  # seen from the signature alone
        assert problems[0].path[0] == "split"
        return
    plan = build("dataset", resolved)
    with pytest.raises(InvalidValue) as caught:
        plan.load(0)
    assert caught.value.at[0] == "split"


def test_limit_cuts_before_the_split(numbered):
    config = {"type": "npz", "path": str(numbered / "one.npz"), "split": {"train": 0.5, "test": 0.5}}
    data = load({**config, "limit": 40})
    assert [len(data.train), len(data.test)] == [20, 20]
    assert len(load({**config, "limit": 10_000}).train) == pytest.approx(50, abs=1)
    own = load({"type": "npz", "path": str(numbered / "two.npz"), "limit": 10})
    assert [len(own.train), len(own.test)] == [10, 10]


# --- scaling ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wine", "breast_cancer", "digits", "idx"])
def test_standardize_uses_training_statistics_alone(name, files):
    split = {"train": 0.5, "validation": 0.25, "test": 0.25}
    raw = load(config_of(name, files, split=split))
    scaled = load(config_of(name, files, split=split, normalize="standardize"))
    exact = np.asarray(raw.train.inputs, np.float64)
    mean, std = exact.mean(0), exact.std(0)
    varies = std > 0
    train = np.asarray(scaled.train.inputs, np.float64)
    np.testing.assert_allclose(train.mean(0), 0.0, atol=1e-6)
    np.testing.assert_allclose(train.std(0)[varies], 1.0, atol=1e-6)
    np.testing.assert_array_equal(train[:, ~varies], 0.0)
    for part in ("validation", "test"):
        found, plain = scaled.splits[part].inputs, raw.splits[part].inputs
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, (plain - mean) / np.where(varies, std, 1.0), rtol=1e-6, atol=1e-6)
        assert np.abs(found.astype(np.float64).mean(0)).max() > 1e-3, "not scaled by its own mean"
        np.testing.assert_array_equal(scaled.splits[part].targets, raw.splits[part].targets)


@pytest.mark.parametrize("normalize", ["standardize", "min_max", "whiten"])
def test_what_is_added_to_a_feature_changes_nothing_that_is_scaled(tmp_path, normalize):
    """Seconds since 1970 differ by less than float32 can tell apart."""
    x = np.stack([np.arange(60.0), np.random.default_rng(0).standard_normal(60)], 1)
    later = x + np.array([1.7e9, 0.0])
    np.savez(tmp_path / "plain.npz", x=x, y=np.arange(60) % 2)
    np.savez(tmp_path / "added.npz", x=later, y=np.arange(60) % 2)
    plain, added = (
        load({"type": "npz", "path": str(tmp_path / f"{name}.npz"), "normalize": normalize})
        for name in ("plain", "added")
    )
    np.testing.assert_allclose(added.test.inputs, plain.test.inputs, atol=1e-6)
    np.testing.assert_allclose(added.scale(later[plain.test.rows]), plain.test.inputs, atol=1e-6)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (0.1, 0.9)])
@pytest.mark.parametrize("name", ["wine", "digits"])
def test_min_max_uses_the_training_range_alone(name, files, low, high):
    split = {"train": 0.5, "validation": 0.25, "test": 0.25}
    normalize = {"type": "min_max", "low": low, "high": high}
    raw = load(config_of(name, files, split=split))
    scaled = load(config_of(name, files, split=split, normalize=normalize))
    exact = np.asarray(raw.train.inputs, np.float64)
    least, span = exact.min(0), np.ptp(exact, 0)
    varies = span > 0
    np.testing.assert_allclose(np.asarray(scaled.train.inputs).min(0), low, atol=1e-6)
    np.testing.assert_allclose(np.asarray(scaled.train.inputs).max(0)[varies], high, atol=1e-6)
    found, plain = scaled.validation.inputs, raw.validation.inputs
    expected = low + (high - low) * (plain - least) / np.where(varies, span, 1.0)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("normalize", ["standardize", "min_max"])
def test_a_constant_feature_gives_no_nan(tmp_path, normalize):
    x = np.random.default_rng(0).standard_normal((60, 3)).astype(np.float32)
    x[:, 1] = 0.1
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(60) % 2)
    data = load({"type": "npz", "path": str(tmp_path / "a.npz"), "normalize": normalize})
    for part in data.splits.values():
        np.testing.assert_array_equal(part.inputs[:, 1], 0.0)
        assert np.isfinite(part.inputs).all()


def test_min_max_refuses_an_empty_range(numbered):
    config = {"type": "npz", "path": str(numbered / "one.npz")}
    with pytest.raises(InvalidValue, match="low 1 must lie below high 0"):
        load({**config, "normalize": {"type": "min_max", "low": 1.0, "high": 0.0}})


def test_every_transform_is_tested_here():
    assert set(components("transform")) == {"standardize", "min_max", "binarize", "whiten"}


def test_binarize_compares_with_a_threshold(files):
    raw, bits = (
        load(config_of("digits", files, normalize=n)) for n in (None, {"type": "binarize", "above": 7})
    )
    for part in ("train", "test"):
        expected = np.asarray(raw.splits[part].inputs) > 7
        np.testing.assert_array_equal(bits.splits[part].inputs, expected.astype(np.float32))
    np.testing.assert_array_equal(bits.scale(np.array([[7.0, 7.5, -1.0]])), [[0.0, 1.0, 0.0]])


def test_the_clouds_of_a_ring_are_where_they_should_be():
    data = load({"type": "ring_of_gaussians", "examples": 4000, "modes": 6, "radius": 3.0, "std": 0.1})
    for mode in range(6):
        points = data.train.inputs[data.train.targets == mode]
        angle = 2 * np.pi * mode / 6
        np.testing.assert_allclose(points.mean(0), 3 * np.array([np.cos(angle), np.sin(angle)]), atol=0.02)
        np.testing.assert_allclose(points.std(0), 0.1, rtol=0.1)


# --- whitening -------------------------------------------------------------------------------------------

THREE_PARTS = {"train": 0.5, "validation": 0.25, "test": 0.25}


def flat(inputs):
    return np.asarray(inputs, np.float64).reshape(len(inputs), -1)


def whitened(train, **arguments):
    """The transform of these training inputs."""
    return build("transform", {"type": "whiten", **arguments})(train)


def covariance(rows):
    return np.cov(flat(rows).T, ddof=0)


@pytest.mark.parametrize("name", ["wine", "breast_cancer", "diabetes", "digits", "idx"])
def test_whitened_training_inputs_have_the_unit_covariance(name, files):
    """As far as they vary; `digits` has dark pixels, and of `idx` come fewer examples than features."""
    config = config_of(name, files, split=THREE_PARTS, limit=24 if name == "idx" else None)
    raw = load(config).train.inputs
    centred = flat(raw) - flat(raw).mean(0)
    rank, width = np.linalg.matrix_rank(centred), centred.shape[1]
    assert (rank < width) == (name in ("digits", "idx"))
    subspace = np.linalg.pinv(centred, rcond=1e-10) @ centred
    for method, expected in (("pca", np.diag(np.arange(width) < rank)), ("zca", subspace)):
        found = load({**config, "normalize": {"type": "whiten", "method": method}}).train.inputs
        assert found.shape == raw.shape
        assert found.dtype == np.float32
        np.testing.assert_allclose(flat(found).mean(0), 0.0, atol=1e-6)
        np.testing.assert_allclose(covariance(found), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["wine", "breast_cancer", "diabetes"])
def test_whiten_is_scikit_learn_s_of_the_training_examples(name, files):
    """Which divides the covariance by N - 1, and has signs of its own."""
    import sklearn.datasets
    from sklearn.decomposition import PCA

    exact = getattr(sklearn.datasets, f"load_{name}")()
    data = load(config_of(name, files, split=THREE_PARTS, normalize="whiten"))
    count, train = len(data.train), exact.data[data.train.rows]
    pca = PCA(whiten=True, svd_solver="full").fit(train)
    signs = np.sign((pca.transform(train) * data.train.inputs).sum(0))
    for part in data.splits.values():
        theirs = pca.transform(exact.data[part.rows]) * signs * np.sqrt(count / (count - 1))
        np.testing.assert_allclose(part.inputs, theirs, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(part.targets.reshape(-1), exact.target[part.rows])


@pytest.mark.parametrize("epsilon", [0.0, 0.3])
def test_zca_is_the_symmetric_root_of_the_inverse_covariance(epsilon):
    mixing = np.random.default_rng(1).standard_normal((5, 5))
    rows = (np.random.default_rng(0).standard_normal((300, 5)) @ mixing + 7).astype(np.float32)
    whiten = whitened(rows, method="zca", epsilon=epsilon)
    root = whiten(np.eye(5)) - whiten(np.zeros((5, 5)))
    np.testing.assert_allclose(root, root.T, atol=1e-10)
    assert (np.linalg.eigvalsh(root) > 0).all()
    np.testing.assert_allclose(root @ root @ (covariance(rows) + epsilon * np.eye(5)), np.eye(5), atol=1e-8)
    np.testing.assert_allclose(whiten(rows), (rows - flat(rows).mean(0)) @ root, atol=1e-8)


def test_epsilon_keeps_small_what_hardly_varies():
    rows = (np.random.default_rng(0).standard_normal((400, 3)) * [10.0, 1.0, 0.01]).astype(np.float32)
    eigenvalues = np.linalg.eigvalsh(covariance(rows))[::-1]
    found = whitened(rows, epsilon=0.25)(rows)
    np.testing.assert_allclose(covariance(found), np.diag(eigenvalues / (eigenvalues + 0.25)), atol=1e-9)
    assert ((found * rows).sum(0) > 0).all(), "an axis points where its largest component does"


def test_features_that_differ_by_a_hair_are_whitened_too():
    """The eigenvectors of the covariance would be off by 1e-5 here."""
    random = np.random.default_rng(0)
    first, other = random.standard_normal((2, 500))
    rows = np.stack([first, first + 1e-5 * random.standard_normal(500), other], 1).astype(np.float32)
    np.testing.assert_allclose(covariance(whitened(rows)(rows)), np.eye(3), atol=1e-8)


def test_what_does_not_vary_becomes_0():
    """A constant, and what follows from other features but for the rounding to float32."""
    random = np.random.default_rng(0)
    first, second = random.uniform(1000, 3000, (2, 200)).astype(np.float32)
    rows = np.stack([first, np.full(200, 0.1), second, first + second], 1).astype(np.float32)
    white = whitened(rows)(rows)
    np.testing.assert_allclose(covariance(white), np.diag([1, 1, 0, 0]), atol=1e-9)
    np.testing.assert_array_equal(white[:, 2:], 0.0)
    symmetric = whitened(rows, method="zca")
    np.testing.assert_allclose(symmetric(rows)[:, 1], 0.0, atol=1e-12)
    strange = rows + np.array([0.0, 50.0, 0.0, 0.0])
    np.testing.assert_allclose(symmetric(strange), symmetric(rows), atol=1e-9)
    np.testing.assert_array_equal(whitened(rows[:1])(rows), 0.0)
    np.testing.assert_array_equal(whitened(rows[:1], method="zca")(rows), 0.0)


@pytest.mark.parametrize("normalize", ["standardize", "min_max", "whiten"])
def test_scaling_looks_at_training_examples_alone(tmp_path, normalize):
    x = np.random.default_rng(0).standard_normal((60, 3))
    x[:, 0] = np.arange(60)
    split = {"train": 30, "validation": 15, "test": 15}
    config = save_npz(tmp_path, x=x, y=np.arange(60) % 2) | {"split": split}
    raw, before = load(config), load({**config, "normalize": normalize})
    strange = x.copy()
    strange[np.isin(x[:, 0], raw.train.inputs[:, 0], invert=True), 1:] *= 1000.0
    after = load(
        save_npz(tmp_path, x=strange, y=np.arange(60) % 2) | {"split": split, "normalize": normalize}
    )
    np.testing.assert_array_equal(after.train.inputs, before.train.inputs)
    for part in ("validation", "test"):
        assert np.abs(after.splits[part].inputs).max() > 100 * np.abs(before.splits[part].inputs).max()


# --- label noise -----------------------------------------------------------------------------------------


def noisy(fraction, by, classes, examples=20_000, seed=0):
    config = {"type": "gaussian", "examples": examples, "features": 2, "classes": classes}
    clean = load(config, seed)
    dirty = load({**config, "label_noise": {"fraction": fraction, "by": by}}, seed)
    return clean, dirty


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("fraction", [0.0, 0.15, 0.333, 1.0])
def test_label_noise_by_other_changes_exactly_its_fraction(fraction, classes):
    clean, dirty = noisy(fraction, "other", classes)
    changed = clean.train.targets != dirty.train.targets
    assert changed.sum() == round(fraction * len(clean.train))
    if fraction:
        shift = (dirty.train.targets - clean.train.targets)[changed] % classes
        shares = np.bincount(shift, minlength=classes) / changed.sum()
        assert shares[0] == 0
        np.testing.assert_allclose(shares[1:], 1 / (classes - 1), atol=0.03)


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("fraction", [0.15, 1.0])
def test_label_noise_by_any_hits_the_true_class_as_often_as_another(fraction, classes):
    clean, dirty = noisy(fraction, "any", classes)
    touched = round(fraction * len(clean.train))
    changed = clean.train.targets != dirty.train.targets
    error = 4 * np.sqrt(touched * (1 / classes) * (1 - 1 / classes))
    assert changed.sum() == pytest.approx(touched * (1 - 1 / classes), abs=error)


def test_label_noise_by_any_touches_exactly_its_fraction():
    """Of 10,000 classes a redraw next to never hits the true one: what changed is what was touched."""
    clean, dirty = noisy(0.25, "any", 10_000, examples=2000)
    touched = round(0.25 * len(clean.train))
    assert touched - 3 <= (clean.train.targets != dirty.train.targets).sum() <= touched


@pytest.mark.parametrize("by", ["any", "other"])
def test_label_noise_leaves_all_else_as_it_was(by):
    clean, dirty = noisy(0.5, by, 10)
    np.testing.assert_array_equal(clean.train.inputs, dirty.train.inputs)
    for part in ("validation", "test"):
        np.testing.assert_array_equal(clean.splits[part].inputs, dirty.splits[part].inputs)
        np.testing.assert_array_equal(clean.splits[part].targets, dirty.splits[part].targets)
    assert dirty.train.targets.dtype == np.int32


def test_label_noise_is_drawn_from_the_seed_and_spread_over_the_set():
    clean, dirty = noisy(0.2, "other", 10)
    _, again = noisy(0.2, "other", 10)
    np.testing.assert_array_equal(dirty.train.targets, again.train.targets)
    changed = clean.train.targets != dirty.train.targets
    halves = np.array_split(changed, 2)
    assert halves[0].mean() == pytest.approx(halves[1].mean(), abs=0.03)


def test_label_noise_needs_classes():
    with pytest.raises(InvalidValue, match="class labels"):
        load({"type": "diabetes", "label_noise": 0.1})


def test_a_bare_number_is_the_noise_s_fraction():
    config = {"type": "gaussian", "examples": 500, "features": 2}
    assert (
        load({**config, "label_noise": 0.3}).hash == load({**config, "label_noise": {"fraction": 0.3}}).hash
    )


# --- against the sources ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "wine", "diabetes"])
@pytest.mark.parametrize("split", [WHOLE, DEFAULT_SPLIT])
def test_bundled_data_are_scikit_learn_s(name, split):
    import sklearn.datasets

    bunch = getattr(sklearn.datasets, f"load_{name}")()
    rows = np.column_stack([bunch.data, bunch.target]).astype(np.float32)
    data = load({"type": name, "split": split})
    np.testing.assert_array_equal(rows_of(*data.splits.values()), rows[np.lexsort(rows.T)])


def test_mnist1d_is_the_package_s_own():
    from mnist1d.data import get_dataset_args, make_dataset

    random.seed(123)
    np.random.seed(123)
    before = random.getstate(), np.random.get_state()
    data = load({"type": "mnist1d"})
    after = random.getstate(), np.random.get_state()
    assert before[0] == after[0]
    assert all(np.array_equal(a, b) for a, b in zip(before[1], after[1], strict=True))

    theirs = make_dataset(get_dataset_args())
    assert (len(data.train), data.validation, len(data.test)) == (4000, None, 1000)
    np.testing.assert_array_equal(data.train.inputs, theirs["x"].astype(np.float32))
    np.testing.assert_array_equal(data.train.targets, theirs["y"])
    np.testing.assert_array_equal(data.test.inputs, theirs["x_test"].astype(np.float32))
    np.testing.assert_array_equal(data.test.targets, theirs["y_test"])
    assert (
        load({"type": "mnist1d", "examples": 200}).hash
        != load({"type": "mnist1d", "examples": 200, "seed": 1}).hash
    )


def test_gaussian_inputs_are_standard_normal_and_labels_uniform():
    data = load({"type": "gaussian", "examples": 20_000, "features": 5, "classes": 4, "split": WHOLE})
    np.testing.assert_allclose(data.train.inputs.mean(0), 0, atol=0.03)
    np.testing.assert_allclose(np.cov(data.train.inputs.T), np.eye(5), atol=0.04)
    np.testing.assert_allclose(np.bincount(data.train.targets) / 20_000, 0.25, atol=0.015)


@pytest.mark.parametrize(("classes", "turns"), [(2, 1.5), (3, 0.75)])
def test_spirals_without_noise_lie_on_their_curves(classes, turns):
    config = {"type": "spirals", "examples": 300, "classes": classes, "turns": turns, "noise": 0.0}
    train = load({**config, "split": WHOLE}).train
    radius = np.hypot(*train.inputs.T)
    angle = 2 * np.pi * (turns * radius + train.targets / classes)
    curve = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    np.testing.assert_allclose(train.inputs, curve, atol=1e-5)
    assert radius.max() <= 1 + 1e-6
    assert radius.max() - radius.min() > 0.9
    np.testing.assert_array_equal(np.bincount(train.targets), 300 // classes)


@pytest.mark.parametrize("folds", [1, 2, 5])
def test_a_sawtooth_changes_its_class_twice_with_each_fold(folds):
    data = load({"type": "sawtooth", "folds": folds, "examples": 64 * 2**folds, "test_examples": 100})
    train = data.train
    x = train.inputs[:, 0].astype(float)
    assert (np.diff(train.targets) != 0).sum() == 2**folds
    rising, period = x * 2**folds % 2, 2  # as a sawtooth in closed form
    np.testing.assert_array_equal(train.targets, np.minimum(rising, period - rising) > 0.5)
    assert len(data.test) == 100
    assert 0 < x.min() < x.max() < 1


def test_xor_is_one_where_the_signs_differ():
    train = load({"type": "xor", "noise": 0.0, "split": WHOLE}).train
    np.testing.assert_array_equal(np.abs(train.inputs), 1.0)
    np.testing.assert_array_equal(train.targets, train.inputs.prod(1) < 0)
    assert {tuple(row) for row in train.inputs} == {(1, 1), (1, -1), (-1, 1), (-1, -1)}
    noisy_inputs = load({"type": "xor", "examples": 4000, "noise": 0.2, "split": WHOLE}).train.inputs
    away = noisy_inputs - np.sign(noisy_inputs)
    assert away.std() == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize(
    ("operation", "labels"),
    [("and", (0, 0, 0, 1)), ("or", (0, 1, 1, 1)), ("nand", (1, 1, 1, 0)), ("xor", (0, 1, 1, 0))],
)
def test_boolean_is_its_truth_table(operation, labels):
    for seed in (0, 1):
        data = load({"type": "boolean", "operation": operation}, seed)
        assert list(data.splits) == ["train"]
        np.testing.assert_array_equal(data.train.inputs, [[-1, -1], [-1, 1], [1, -1], [1, 1]])
        np.testing.assert_array_equal(data.train.targets, labels)
    divided = load({"type": "boolean", "operation": operation, "split": {"train": 3, "test": 1}})
    assert [len(part) for part in divided.splits.values()] == [3, 1]


@jax.jit
def loss_and_hessian(weights, inputs, targets):
    """Of a linear model, by nnlab's own loss."""

    def loss(weights):
        return build("loss", "squared_error").per_example(inputs @ weights[:, None], targets).mean()

    return loss(weights), jax.hessian(loss)(weights)


@pytest.mark.parametrize("angle", [0.0, 30.0, 45.0, 90.0])
@pytest.mark.parametrize("condition", [1.0, 100.0, 1e4])
def test_a_ravine_s_loss_is_its_quadratic_form(condition, angle):
    """Value and Hessian against L(w) = 1/2 (w - 1)^T H (w - 1)."""
    train = load({"type": "ravine", "condition": condition, "angle": angle}).train
    along = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    across = np.array([-along[1], along[0]])
    hessian = np.outer(along, along) + np.outer(across, across) / condition
    for weights in np.random.default_rng(0).uniform(-3, 3, (5, 2)):
        form = (weights - 1) @ hessian @ (weights - 1) / 2
        found, _ = loss_and_hessian(weights.astype(np.float32), train.inputs, train.targets)
        np.testing.assert_allclose(found, form, rtol=1e-4, atol=1e-9)
    found, _ = loss_and_hessian(np.ones(2, np.float32), train.inputs, train.targets)
    assert found < 1e-13
    _, found = loss_and_hessian(np.zeros(2, np.float32), train.inputs, train.targets)
    np.testing.assert_allclose(found, hessian, rtol=1e-5, atol=1e-7)


# --- files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "separator"), [("", "-"), (".gz", "-"), (".gz", ".")])
def test_idx_plain_and_gzipped(tmp_path, suffix, separator):
    train = write_images(tmp_path, "train", 30, suffix, separator)
    test = write_images(tmp_path, "t10k", 12, suffix, separator, seed=1)
    data = load({"type": "idx", "path": str(tmp_path)})
    assert data.validation is None
    for part, (images, labels) in ((data.train, train), (data.test, test)):
        np.testing.assert_array_equal(part.inputs, images.astype(np.float32) / np.float32(255))
        np.testing.assert_array_equal(part.targets, labels)
        assert part.classes == 3


LAYOUTS = {
    "dots": "{part}-{kind}.idx{axes}-ubyte",
    "folders": "{part}-{kind}-idx{axes}-ubyte/{part}-{kind}-idx{axes}-ubyte",  # of Kaggle's MNIST
    "mixed folders": "{part}-{kind}-idx{axes}-ubyte/{part}-{kind}.idx{axes}-ubyte",
    "test": "{test}-{kind}-idx{axes}-ubyte.gz",
    "prefix": "emnist-letters-{test}-{kind}-idx{axes}-ubyte.gz",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_idx_files_are_found_by_the_names_they_come_with(tmp_path, layout):
    write_images(tmp_path, "train", 12)
    test_images, _ = write_images(tmp_path, "t10k", 6, seed=1)
    plain = load({"type": "idx", "path": str(tmp_path)})
    for file in list(tmp_path.iterdir()):
        part, kind, axes = file.name.split("-")[:3]
        names = {"part": part, "test": part.replace("t10k", "test"), "kind": kind, "axes": axes[3]}
        place = tmp_path / "new" / LAYOUTS[layout].format(**names)
        place.parent.mkdir(parents=True, exist_ok=True)
        content = file.read_bytes()
        place.write_bytes(gzip.compress(content) if place.suffix == ".gz" else content)
        file.unlink()
    data = load({"type": "idx", "path": str(tmp_path / "new")})
    assert data.hash == plain.hash
    assert data.notes == ()
    np.testing.assert_array_equal(data.test.inputs, test_images / np.float32(255))
    with pytest.raises(InvalidValue, match=f"; '{tmp_path / 'new'}' does"):
        load({"type": "idx", "path": str(tmp_path)})


def test_idx_files_that_are_not_one_data_set_are_told_or_refused(tmp_path):
    config = {"type": "idx", "path": str(tmp_path)}
    for name in ("emnist-letters", "emnist-digits"):
        write_images(tmp_path, f"{name}-train", 12)
    (tmp_path / "._emnist-letters-train-images-idx3-ubyte").touch()
    with pytest.raises(
        InvalidValue, match=r"several sets, emnist-digits-\.\.\. and emnist-letters-\.\.\.; put"
    ):
        load(config)
    images, _ = write_images(tmp_path, "train", 9, seed=3)
    data = load(config | {"split": WHOLE})
    assert np.asarray(data.train.inputs).sum() == pytest.approx(images.sum() / 255, rel=1e-5)
    assert data.notes == (f"'{tmp_path}': not used: emnist-digits-... and emnist-letters-...",)
    write_images(tmp_path, "t10k", 9)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InvalidValue, match="t10k-images-idx3-ubyte' has no IDX file of labels beside it"):
        load(config)


def test_idx_without_a_test_set_is_split_like_any_other(tmp_path):
    write_images(tmp_path, "train", 100)
    data = load({"type": "idx", "path": str(tmp_path)})
    assert [len(part) for part in data.splits.values()] == [70, 15, 15]


@pytest.mark.parametrize(("kind", "dtype"), [(0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")])
def test_idx_of_wider_numbers_are_taken_as_they_are(tmp_path, kind, dtype):
    values = (np.arange(40).reshape(10, 2, 2) - 7).astype(dtype)
    write_idx(tmp_path / "train-images-idx3-ubyte", values, kind)
    write_idx(tmp_path / "train-labels-idx1-ubyte", (np.arange(10) % 2).astype(np.uint8), 0x08)
    data = load({"type": "idx", "path": str(tmp_path), "split": WHOLE})
    np.testing.assert_array_equal(
        np.sort(np.asarray(data.train.inputs).reshape(10, 4), 0), values.reshape(10, 4).astype(np.float32)
    )


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("train-images-idx3-ubyte", b"\0\0\x08\x03\0\0\0\x0a"),
        ("train-images-idx3-ubyte", b"PNG?"),
        ("train-images-idx3-ubyte", b""),
        ("train-labels-idx1-ubyte", b"\0\0\x08\x01\0\0\0\x05\0\0\0\0\0"),
        ("train-labels-idx1-ubyte", b"\0\0\x08\x01\xff\xff\xff\xff\0"),
    ],
)
def test_idx_that_is_broken_is_refused(tmp_path, file, content):
    write_images(tmp_path, "train", 10)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(InvalidValue) as caught:
        load({"type": "idx", "path": str(tmp_path)})
    assert caught.value.at == ("path",)


def save_npz(tmp_path, **arrays):
    np.savez(tmp_path / "a.npz", **arrays)
    return {"type": "npz", "path": str(tmp_path / "a.npz")}


def test_npz_with_a_test_set_of_its_own(tmp_path):
    random_numbers = np.random.default_rng(0)
    arrays = {
        "x": random_numbers.standard_normal((20, 3)),
        "y": np.arange(20) % 4,
        "x_test": random_numbers.standard_normal((8, 3)),
        "y_test": np.arange(8) % 4,
    }
    data = load(save_npz(tmp_path, **arrays))
    for part, suffix in ((data.train, ""), (data.test, "_test")):
        np.testing.assert_array_equal(part.inputs, arrays[f"x{suffix}"].astype(np.float32))
        np.testing.assert_array_equal(part.targets, arrays[f"y{suffix}"])


@pytest.mark.parametrize(
    "names", [np.arange(4), np.array(["ant", "bee", "cat", "dog"]), np.array([3, 5, 7, 9])]
)
def test_npz_labels_mean_the_same_in_both_sets(tmp_path, names):
    """The test set lacks the first class: its labels must not move down by one."""
    numbers, test_numbers = np.arange(20) % 4, 1 + np.arange(9) % 3
    x = np.zeros((20, 2))
    config = save_npz(tmp_path, x=x, y=names[numbers], x_test=x[:9], y_test=names[test_numbers])
    data = load(config)
    np.testing.assert_array_equal(data.train.targets, numbers)
    np.testing.assert_array_equal(data.test.targets, test_numbers)
    assert data.train.classes == data.test.classes == 4


def test_a_test_label_that_training_lacks_gets_a_class_or_is_refused(tmp_path):
    x = np.zeros((6, 2))
    config = save_npz(tmp_path, x=x, y=np.arange(6) % 2, x_test=x, y_test=np.arange(6) % 3)
    try:
        data = load(config)
    except InvalidValue:
        return
    assert data.test.targets.max() < data.train.classes


def test_npz_regression_and_other_names(tmp_path):
    x, y = np.arange(24.0).reshape(12, 2), np.arange(36.0).reshape(12, 3)
    config = save_npz(tmp_path, points=x, values=y)
    data = load({**config, "inputs": "points", "targets": "values", "task": "regression", "split": WHOLE})
    assert data.train.classes == 0
    order = (data.train.inputs[:, 0] / 2).astype(int)  # which example each row is, by its first input
    assert sorted(order) == list(range(12))
    np.testing.assert_array_equal(data.train.targets, y.astype(np.float32)[order])


def test_csv_classification_and_regression(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("size,kind,weight\n1,pear,10.5\n2,apple,20.5\n3,pear,30.5\n4,fig,40.5\n")
    config = {"type": "csv", "path": str(file), "split": WHOLE}
    numeric = tmp_path / "b.csv"
    numeric.write_text("size,weight\n1,10.5\n2,20.5\n3,30.5\n4,40.5\n")

    with pytest.raises(InvalidValue, match="line 2, column 'kind': 'pear' is text"):
        load({**config, "target": "weight", "task": "regression"})
    file.write_text("size,weight,kind\n1,10.5,pear\n2,20.5,apple\n3,30.5,pear\n4,40.5,fig\n")
    data = load({**config, "target": "kind"})
    by_size = {
        int(row[0]): int(label) for row, label in zip(data.train.inputs, data.train.targets, strict=True)
    }
    assert by_size == {1: 2, 2: 0, 3: 2, 4: 1}  # apple, fig, pear
    assert data.train.classes == 3
    np.testing.assert_array_equal(data.train.inputs[:, 1], data.train.inputs[:, 0] * 10 + 0.5)

    data = load(
        {"type": "csv", "path": str(numeric), "target": "weight", "task": "regression", "split": WHOLE}
    )
    np.testing.assert_array_equal(data.train.targets, data.train.inputs * 10 + 0.5)
    assert data.train.classes == 0


@pytest.mark.parametrize(
    ("text", "target", "said"),
    [
        ("a,b\n1,2\nnan,3\n", "b", "line 3, column 'a'"),
        ("a,b\n1,2\n2,\n", "b", "line 3, column 'b'"),
        ("a,b\n1,2\ninf,3\n", "b", "line 3, column 'a': 'inf' is no number, but an infinity"),
        ("a,b\n1,2\n", "bb", "no column 'bb'; did you mean 'b'"),
        ("a,b\n", "b", "no rows"),
        ("b\n1\n", "b", "no column beside the target"),
        ("", "b", "no CSV table"),
    ],
)
def test_csv_that_will_not_do_is_refused_in_one_line(tmp_path, text, target, said):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InvalidValue, match=said) as caught:
        load({"type": "csv", "path": str(tmp_path / "a.csv"), "target": target})
    assert "\n" not in str(caught.value).strip()
    assert caught.value.at in {("path",), ("target",)}


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (["x_train", "y_train", "x_test", "y_test"], {}),  # Keras's mnist.npz
        (["x_train", "y_train", "x_test", "y_test"], {"inputs": "x_train"}),
        (["x", "y", "x_test", "y_test", "x_valid", "y_valid"], {}),
        (
            ["X_train", "y_train", "X_test", "y_test", "X_val", "y_val"],
            {"inputs": "X_train", "targets": "y_train"},
        ),
        (
            ["train_images", "train_labels", "test_images", "test_labels", "val_images", "val_labels"],
            {"inputs": "train_images", "targets": "train_labels"},
        ),
    ],
)
def test_npz_of_several_parts_is_taken_whole(tmp_path, names, keys):
    x = np.arange(120.0).reshape(60, 2)
    labels = np.array(["ant", "bee", "cat"])[np.arange(60) % 3]
    cuts = (slice(30), slice(30, 45), slice(45, 60))
    arrays = {}
    for cut, name, label in zip(cuts, names[::2], names[1::2], strict=False):
        arrays |= {name: x[cut], label: labels[cut]}
    data = load(save_npz(tmp_path, **arrays) | keys)
    assert list(data.splits) == ["train", "validation", "test"][:: 1 if len(names) == 6 else 2]
    for part, cut in zip(("train", "test", "validation"), cuts[: len(names) // 2], strict=False):
        np.testing.assert_array_equal(data.splits[part].inputs, x[cut].astype(np.float32))
        np.testing.assert_array_equal(data.splits[part].targets, np.arange(60)[cut] % 3)
    assert data.notes == ()


def test_npz_says_which_arrays_it_does_not_use(tmp_path):
    x, y = np.zeros((6, 2)), np.arange(6) % 2
    config = save_npz(tmp_path, x=x, y=y, x_test=x, y_val=y, extra=np.array([{}], object))
    (note,) = load(config).notes
    assert note == f"'{config['path']}': not used: extra, x_test and y_val"
    many = {f"a{number:02}": y for number in range(20)}
    (note,) = load(save_npz(tmp_path, x=x, y=y, **many)).notes
    assert note.endswith("a06, a07 and 12 more")


@pytest.mark.parametrize(
    ("arrays", "keys", "said"),
    [
        (("X", "Y"), {}, "no array 'x'; it has X and Y; did you mean 'X'?"),
        (("X_train", "y_train"), {}, "no array 'x'; it has X_train and y_train; did you mean 'X_train'?"),
        (("a", "y"), {}, "no array 'x'; it has a and y"),
        (("images", "labels"), {"inputs": "image", "targets": "labels"}, "did you mean 'images'?"),
        (("y_train",), {"inputs": "x_train"}, "no array 'x_train'; it has y_train"),
    ],
)
def test_npz_names_that_are_not_there_lead_to_those_that_are(tmp_path, arrays, keys, said):
    config = save_npz(tmp_path, **dict.fromkeys(arrays, np.arange(6) % 2)) | keys
    with pytest.raises(InvalidValue) as caught:
        load(config)
    assert str(caught.value).endswith(said)
    assert caught.value.at == ("inputs",)


def test_npz_parts_are_held_against_each_other(tmp_path):
    x, y = np.zeros((6, 2)), np.arange(6) % 2
    bad = {
        "'x_test' and 'y_test' are 6 inputs but 4 targets": {"y": y, "x_test": x, "y_test": y[:4]},
        "'x' and 'x_test' differ in shape": {"y": y, "x_test": x[:, :1], "y_test": y},
        "'y' and 'y_test' differ in shape": {"y": y, "x_test": x, "y_test": np.eye(len(x))[y]},
        "'x_val' is empty": {"y": y, "x_val": x[:0], "y_val": y[:0]},
        "of 'y' and 'y_test' one is text": {"y": y, "x_test": x, "y_test": y.astype(str)},
    }
    for said, arrays in bad.items():
        with pytest.raises(InvalidValue, match=said) as caught:
            load(save_npz(tmp_path, x=x, **arrays))
        assert caught.value.at == ("path",)


def test_npz_that_will_not_do_is_refused(tmp_path):
    x = np.zeros((5, 2))
    bad = {
        "there must be one for each": {"x": x, "y": np.zeros(4, int)},
        "not a finite": {"x": np.array([[1.0], [np.nan]]), "y": np.zeros(2, int)},
        "has no array 'y'": {"x": x},
        "must have an axis": {"x": x[:, 0], "y": np.zeros(5, int)},
        "holds no numbers": {"x": x.astype("U3"), "y": np.zeros(5, int)},
        "it holds Python objects, which": {"x": np.array([{}, {}], dtype=object), "y": np.zeros(2, int)},
    }
    for said, arrays in bad.items():
        with pytest.raises(InvalidValue, match=said):
            load(save_npz(tmp_path, **arrays))
    (tmp_path / "a.npz").write_bytes(b"PK\3\4 and then nothing")
    with pytest.raises(InvalidValue, match="no NPZ archive"):
        load({"type": "npz", "path": str(tmp_path / "a.npz")})
    with pytest.raises(InvalidValue, match="there is no"):
        load({"type": "npz", "path": str(tmp_path / "b.npz")})
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(InvalidValue, match="is no file"):
        load({"type": "npz", "path": str(tmp_path / "pipe.npz")})


def test_test_images_of_another_size_are_refused(tmp_path):
    """Found while training they would be a traceback; labels beyond the training classes make classes."""
    for stem, size, labels in (("train", 4, [0, 1]), ("t10k", 3, [0, 2])):
        write_idx(tmp_path / f"{stem}-images-idx3-ubyte", np.zeros((2, size, size), np.uint8), 0x08)
        write_idx(tmp_path / f"{stem}-labels-idx1-ubyte", np.array(labels, np.uint8), 0x08)
    with pytest.raises(InvalidValue, match="training inputs have the shape"):
        build("dataset", {"type": "idx", "path": str(tmp_path)}).load(0)
    write_idx(tmp_path / "t10k-images-idx3-ubyte", np.zeros((2, 4, 4), np.uint8), 0x08)
    data = build("dataset", {"type": "idx", "path": str(tmp_path)}).load(0)
    assert (data.train.classes, data.test.classes) == (3, 3)
