"""Dividing a data set: stratified parts, and the folds of a cross-validation."""

import itertools

import numpy as np
import pytest

from nnlab.config import load as load_file
from nnlab.config.resolve import resolve
from nnlab.data.examples import Loaded, Source, classification_examples, regression_examples
from nnlab.data.prepare import prepare
from nnlab.data.splits import Split
from nnlab.errors import ConfigError, InvalidValue
from nnlab.registry import build
from nnlab.sweeps.trials import trials_of
from nnlab.system.random import generator
from nnlab.training.experiment import build_experiment

SEEDS = range(3)


def divide(labels, seed=0, /, test_examples=0, **keys):
    """Examples that are numbered by their one input, of these classes, divided."""
    numbers = np.arange(len(labels) + test_examples, dtype=np.float32)[:, None]
    test_labels = np.zeros(test_examples, int)
    everything = classification_examples(numbers, np.concatenate([labels, test_labels]), max(labels) + 1)
    own = everything.take(slice(len(labels), None)) if test_examples else None
    source = Source(lambda _: (everything.take(slice(len(labels))), own))
    return prepare(source, split=Split(**keys)).load(seed)


def numbers_of(*parts):
    return [int(number) for part in parts if part is not None for number in part.inputs[:, 0]]


def counts_of(part, classes):
    return np.zeros(classes, int) if part is None else np.bincount(part.targets, minlength=classes)


def labels_of(total, classes):
    return np.arange(total) % classes


# --- folds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stratify", [False, True])
@pytest.mark.parametrize("folds", [2, 3, 5, 7])
@pytest.mark.parametrize("total", [7, 10, 61, 200])
def test_folds_are_disjoint_and_cover_what_is_not_test(total, folds, stratify):
    for seed, test in itertools.product(SEEDS, (None, 0.25)):
        keys = {"stratify": stratify, "folds": folds, "test": test}
        if folds > total - round((test or 0) * total):
            continue
        turns = [divide(labels_of(total, 3), seed, fold=fold, **keys) for fold in range(folds)]
        sizes = [len(turn.validation) for turn in turns]
        assert max(sizes) - min(sizes) <= 1
        held_out = numbers_of(*(turn.validation for turn in turns))
        test_set = numbers_of(turns[0].test)
        assert len(test_set) == pytest.approx((test or 0) * total, abs=0.5)
        assert sorted(held_out + test_set) == list(range(total))
        for turn in turns:
            assert numbers_of(turn.test) == test_set
            assert sorted(numbers_of(*turn.splits.values())) == list(range(total))
        refit = divide(labels_of(total, 3), seed, **keys)
        assert refit.validation is None
        assert numbers_of(refit.test) == test_set
        assert sorted(numbers_of(refit.train)) == sorted(held_out)


def test_the_folds_depend_on_the_seed():
    cuts = {tuple(numbers_of(divide(labels_of(40, 2), seed, folds=4, fold=1).validation)) for seed in SEEDS}
    assert len(cuts) == len(SEEDS)


@pytest.mark.parametrize("test", [None, 0, 12])
def test_a_test_set_of_its_own_stays_out_of_the_folds(test):
    turns = [divide(labels_of(30, 2), test_examples=10, folds=5, fold=fold, test=test) for fold in range(5)]
    own = list(range(30, 40))
    held_out, test_set = numbers_of(*(turn.validation for turn in turns)), numbers_of(turns[0].test)
    assert len(test_set) == (10 if test is None else test)
    assert sorted(held_out + test_set) == list(range(40))
    assert (test_set == own) == (test is None)


def test_as_many_folds_as_examples_leave_one_out():
    turns = [divide(labels_of(12, 3), folds=12, fold=fold, stratify=True) for fold in range(12)]
    assert sorted(numbers_of(*(turn.validation for turn in turns))) == list(range(12))
    with pytest.raises(InvalidValue, match="12 folds of 11 examples") as caught:
        divide(labels_of(12, 3), folds=12, test=1)
    assert caught.value.at == ("split", "folds")


# --- in proportion ---------------------------------------------------------------------------------------

DISTRIBUTIONS = {
    "even": [40] * 5,
    "two": [90, 10],
    "rare": [1000] + [1] * 100,
    "threes": [200] + [3] * 50,
    "steps": list(range(1, 25)),
    "random": np.random.default_rng(0).integers(1, 60, 30).tolist(),
}
SHARES = [
    {"train": 0.7, "validation": 0.15, "test": 0.15},
    {"train": 0.5, "validation": 0.3},
    {"validation": 0.2, "test": 0.37},
    {"train": 11, "validation": 7, "test": 5},
    {"train": 1.0},
]


@pytest.mark.parametrize("shares", SHARES)
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_every_part_holds_the_classes_in_proportion_to_one_example(name, shares):
    counts = np.array(DISTRIBUTIONS[name])
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    for seed in SEEDS:
        plain = divide(labels, seed, **shares)
        data = divide(labels, seed, stratify=True, **shares)
        assert {k: len(v) for k, v in data.splits.items()} == {k: len(v) for k, v in plain.splits.items()}
        numbers = numbers_of(*data.splits.values())
        assert len(set(numbers)) == len(numbers)
        for part in data.splits.values():
            np.testing.assert_array_equal(part.targets, labels[numbers_of(part)])
            exact = counts * len(part) / len(labels)
            assert np.abs(counts_of(part, len(counts)) - exact).max() <= 1
    if len(counts) > 1 and len(data.splits) > 1:
        assert numbers_of(data.train) != numbers_of(divide(labels, 0, stratify=True, **shares).train)


@pytest.mark.parametrize("folds", [2, 3, 10])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_every_fold_holds_the_classes_in_proportion_to_one_example(name, folds):
    counts = np.array(DISTRIBUTIONS[name])
    labels = np.repeat(np.arange(len(counts)), counts)
    for seed, fold in itertools.product(SEEDS, range(folds)):
        turn = divide(labels, seed, folds=folds, fold=fold, stratify=True)
        for part in (turn.train, turn.validation):
            exact = counts * len(part) / len(labels)
            assert np.abs(counts_of(part, len(counts)) - exact).max() <= 1


def test_a_part_that_is_proportional_to_the_example_is_so_exactly():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    data = divide(labels, stratify=True, train=0.5, validation=0.3, test=0.2)
    assert counts_of(data.train, 3).tolist() == [30, 15, 5]
    assert counts_of(data.validation, 3).tolist() == [18, 9, 3]
    assert counts_of(data.test, 3).tolist() == [12, 6, 2]


def test_which_example_of_a_class_goes_where_is_drawn():
    """Each is as often in the training set as its share says."""
    labels = np.repeat([0, 1], [12, 8])
    seen = np.zeros(20)
    for seed in range(400):
        seen[numbers_of(divide(labels, seed, stratify=True, train=0.25).train)] += 1
    np.testing.assert_allclose(seen / 400, 0.25, atol=4 * np.sqrt(0.25 * 0.75 / 400))


def test_without_stratify_the_parts_are_slices_of_the_seed_s_order():
    order = generator(5, "split").permutation(50).tolist()
    data = divide(labels_of(50, 2), 5, train=0.6, validation=0.2, test=0.2)
    assert [numbers_of(part) for part in data.splits.values()] == [order[:30], order[30:40], order[40:]]


def test_stratify_needs_classes():
    source = Source(lambda _: (regression_examples(np.zeros((9, 1)), np.arange(9.0)), None))
    for keys in ({"train": 0.5}, {"folds": 3, "fold": 0}):
        with pytest.raises(InvalidValue, match="needs class labels") as caught:
            prepare(source, split=Split(stratify=True, **keys)).load(0)
        assert caught.value.at == ("split", "stratify")


# --- in a file -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "at", "says"),
    [
        ({"fold": 0}, "fold", "give 'folds' too"),
        ({"folds": 3, "fold": 3}, "fold", "3 is none of 3 folds, counted from 0 to 2"),
        ({"folds": 3, "train": 0.5}, "train", "leave out 'train'"),
        ({"folds": 3, "train": 5}, "train", "leave out 'train'"),
        ({"folds": 3, "validation": 0.1}, "validation", "leave out 'validation'"),
        ({"folds": 1}, "folds", "a whole number >= 2"),
        ({"folds": 3, "fold": -1}, "fold", "a whole number >= 0"),
        ({"folds": True}, "folds", "a whole number >= 2"),
        ({"stratify": 1}, "stratify", "true or false"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(keys, at, says):
    problems = []
    resolve("dataset", {"type": "xor", "split": keys}, (), problems)
    (problem,) = problems
    assert problem.path == ("split", at)
    assert says in problem.message


FILE = """\
name: folds
data: {type: xor, examples: 600, split: SPLIT}
model: {type: mlp, width: 4, depth: 1, outputs: 2}
train: {steps: 40}
"""
SWEEP = "sweep: {axes: {data.split.fold: [0, 1, 2]}}\n"


@pytest.fixture
def file(tmp_path):
    def write(split, more=""):
        (tmp_path / "folds.yaml").write_text(FILE.replace("SPLIT", split) + more)
        return tmp_path / "folds.yaml"

    return write


def test_what_is_saved_is_read_again(file):
    path = file("{folds: 5, fold: 2, stratify: true}")
    config = load_file(path)
    path.write_text(config.text)
    assert load_file(path).tree == config.tree


def test_a_sweep_over_the_folds_has_every_example_held_out_once(file):
    config = load_file(file("{folds: 3, test: 0.1}", SWEEP))
    held_out = [build_experiment(trial.config).data.validation for trial in trials_of(config)]
    assert [len(part) for part in held_out] == [180, 180, 180]
    rows = np.concatenate([part.inputs for part in held_out])
    assert len(np.unique(rows, axis=0)) == 540


@pytest.mark.parametrize(
    ("words", "smoked"),
    [
        ("{train: 0.5, validation: 0.5, stratify: true}", (128, 128, 0)),
        ("{train: 400, validation: 100, test: 100, stratify: true}", (154, 51, 51)),
        ("{folds: 4, fold: 3}", (192, 64, 0)),
        ("{folds: 4}", (256, 0, 0)),
        ("{folds: 4, fold: 3, test: 0.5}", (154, 51, 51)),
        ("{folds: 5, fold: 0, test: 100, stratify: true}", (164, 41, 51)),
        ("{folds: 500, fold: 499, test: 100}", (548, 1, 51)),
        ("{folds: 240, fold: 0, test: 0.6}", (382, 2, 96)),
        ("{folds: 600, fold: 0}", (599, 1, 0)),
    ],
)
def test_a_smoke_run_divides_its_slice_likewise(file, words, smoked):
    config = load_file(file(words), smoke=True)
    assert config.tree["data"]["split"]["stratify"] == ("stratify" in words)
    data = build_experiment(config).data
    found = [0 if part is None else len(part) for part in (data.train, data.validation, data.test)]
    np.testing.assert_allclose(found, smoked, atol=1)
    assert sum(found) == sum(smoked)


def test_a_smoke_sweep_keeps_its_folds(file):
    config = load_file(file("{folds: 3}", SWEEP), smoke=True)
    assert config.tree["sweep"]["axes"] == {"data.split.fold": [0, 1, 2]}
    parts = [build_experiment(trial.config).data.validation for trial in trials_of(config)]
    assert sum(map(len, parts)) == 256


def test_a_fold_that_is_not_there_is_refused_in_a_sweep_too(file):
    axes = SWEEP.replace("2]", "2, 3]")
    with pytest.raises(ConfigError, match="3 is none of 3 folds"):
        trials_of(load_file(file("{folds: 3}", axes)))


@pytest.mark.parametrize("name", ["digits", "xor", "gaussian"])  # the last two are drawn
@pytest.mark.parametrize("limit", [None, 60])
def test_a_seed_of_its_own_keeps_the_parts_where_the_run_s_seed_changes(limit, name):
    def loaded(run_seed, own):
        plan = resolve("dataset", {"type": name, "split": {"test": 0.2, "seed": own}, "limit": limit}, (), [])
        data = build("dataset", plan).load(run_seed)
        return data.train.inputs.tobytes(), data.test.inputs.tobytes()

    assert loaded(0, 5) == loaded(1, 5) == loaded(5, None)
    assert loaded(0, 5) != loaded(0, 6)
    assert loaded(0, None) != loaded(1, None)


# --- a data set's own division ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("split", "sizes"),
    [
        (None, {"train": 60, "validation": 20, "test": 10}),
        ({"seed": 3}, {"train": 60, "validation": 20, "test": 10}),
        ({"train": 0.5}, {"train": 30, "validation": 20, "test": 10}),
        ({"test": 0.5}, {"train": 35, "validation": 20, "test": 35}),
        ({"validation": 0.25}, {"train": 60, "validation": 20, "test": 10}),
        ({"validation": 0.5}, {"train": 40, "validation": 40, "test": 10}),
        ({"folds": 4, "fold": 0}, {"train": 60, "validation": 20, "test": 10}),
        ({"train": 0.5, "validation": 0.3, "test": 0.2}, {"train": 45, "validation": 27, "test": 18}),
    ],
)
def test_own_validation_and_test_examples_are_kept_or_pooled(split, sizes):
    numbers = regression_examples(np.arange(90.0)[:, None], np.arange(90.0))
    own = {"train": slice(60), "validation": slice(60, 80), "test": slice(80, 90)}
    loaded = Loaded(*(numbers.take(own[part]) for part in ("train", "test", "validation")), ("a\nnote",))
    data = prepare(Source(lambda _: loaded), split=split and Split(**split)).load(0)
    assert {name: len(part) for name, part in data.splits.items()} == sizes
    assert data.notes == ("a note",)
    shares = split or {}
    pooled = {
        "validation": bool(shares.get("validation") or shares.get("folds")),
        "test": "test" in shares,
    }
    for name, is_pooled in pooled.items():
        assert (set(numbers_of(data.splits[name])) == set(range(90)[own[name]])) != is_pooled
    assert len(set(numbers_of(*data.splits.values()))) == sum(sizes.values())


def test_limit_and_keep_classes_hold_for_own_validation_examples_too():
    labels = np.arange(90) % 3
    everything = classification_examples(np.arange(90.0)[:, None], labels, 3)
    parts = [everything.take(slice(start, start + 30)) for start in (0, 30, 60)]
    data = prepare(Source(lambda _: Loaded(*parts)), limit=4, keep_classes=[2, 0]).load(0)
    assert {name: len(part) for name, part in data.splits.items()} == dict.fromkeys(data.splits, 4)
    assert len(data.splits) == 3
    for part in data.splits.values():
        np.testing.assert_array_equal(labels[part.rows], np.array([2, 0])[part.targets])


@pytest.mark.parametrize("stratify", [False, True])
def test_samples_are_drawn_from_all_that_is_not_held_out(stratify):
    keys = {"train": 20, "validation": 10, "test": 30, "seed": 3, "stratify": stratify}
    runs = [divide(labels_of(100, 2), seed, sample=sample, **keys) for sample in range(40) for seed in (0, 1)]
    held_out = {(*numbers_of(data.validation), *numbers_of(data.test)) for data in runs}
    assert len(held_out) == 1, "one validation and one test set"
    samples = {tuple(sorted(numbers_of(data.train))) for data in runs}
    assert len(samples) == 40, "the sample's number draws it, not the run's seed"
    assert {len(set(sample)) for sample in samples} == {20}
    assert set().union(*samples) == set(range(100)) - set(*held_out)
    if stratify:
        assert {int(data.train.targets.sum()) for data in runs} <= {9, 10, 11}


def test_a_sample_needs_its_size():
    with pytest.raises(InvalidValue, match="give 'train': how many"):
        Split(sample=1)
