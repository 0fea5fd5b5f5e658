"""Comparisons on tables with a known answer: scores, steps to a level, what never gets there, ties, edges;
the words for values; sweeps that cannot be compared."""

import math

import numpy as np
import pandas
import pytest
from support import FakeSweep, run_nnlab

from nnlab.config import check_tree
from nnlab.config.document import parse
from nnlab.errors import InvalidValue
from nnlab.phenomena.optimization.compared_values import ComparisonSettings, find_contenders, value_in_words
from nnlab.phenomena.optimization.comparison import Comparison
from nnlab.registry import build
from nnlab.runs import results
from nnlab.storage.tables import read_trials
from nnlab.sweeps.directory import SweepDirectory
from nnlab.sweeps.tables import row_of, write_trials
from nnlab.sweeps.trials import trials_of

OPTIMIZER, RATE = "optimizer", "optimizer.learning_rate"
AXES = (OPTIMIZER, RATE)
LOSS = "final.validation_loss"
STEPS = [0, 10, 20, 30, 40]


def sweep_of(rows, axes, metrics):
    """A sweep of a row a trial, and the table `metrics` of those that are complete."""
    table = pandas.DataFrame([{"trial": f"t{i}", "status": "complete"} | row for i, row in enumerate(rows)])
    return FakeSweep(table, {"metrics": metrics}, axes)


def make_comparison(along=OPTIMIZER, **arguments):
    return build("phenomenon", {"type": "comparison", "along": along} | arguments)


def compared(sweep, **arguments):
    """The detector's numbers."""
    found = make_comparison(**arguments).summarize(sweep)
    assert tuple(found) == (*make_comparison(**arguments).fields, *(["reason"] if "reason" in found else []))
    return Comparison(**found)


def settings(along, tuned=None):
    return ComparisonSettings(along, LOSS, "lower", None, tuned, None)


def scored(scores, axes=AXES, metric=LOSS, diverged=()):
    """A sweep from value -> tuned value -> a score a seed; NaN is one that diverged."""
    rows = [
        {OPTIMIZER: value, RATE: rate, "seed": seed, metric: score}
        | ({"status": "diverged"} if math.isnan(score) else {})
        for value, by_rate in scores.items()
        for rate, seeds in by_rate.items()
        for seed, score in enumerate(seeds)
    ]
    metrics = pandas.DataFrame({"trial": "t0", "step": [0, 9], "validation_loss": [1.0, 0.5]})
    return sweep_of(rows, axes, metrics)


NAN = math.nan
SCORES = {
    "sgd": {0.1: [0.9, 0.8, 1.0], 1.0: [0.6, 0.5, 0.55], 10.0: [NAN, NAN, 0.1]},
    "{type: sgd, momentum: 0.9}": {0.1: [0.4, 0.5, 0.3], 1.0: [0.5, 0.6, 0.7], 10.0: [NAN, NAN, NAN]},
    "adam": {0.1: [0.5, 0.2, 0.1], 1.0: [0.6, 0.52, 0.1], 10.0: [NAN, 2.0, 2.0]},
}


def test_each_is_taken_at_its_own_best_rate():
    found = compared(scored(SCORES), tuned=RATE)
    assert found == Comparison(
        best="adam",
        worst="sgd",
        best_score=0.2,
        worst_score=0.55,
        reference_score=0.55,
        best_at=0.1,
        reached=3,
        ahead=2,
        ahead_in_every_seed=1,  # in one of momentum's both are 0.5
        ratio=pytest.approx(0.55 / 0.2),
        gain=pytest.approx(0.35),
        at_edge=2,
    )


def test_without_a_tuned_axis_there_is_nothing_to_be_at_the_edge_of():
    alone = {value: {1.0: by_rate[1.0]} for value, by_rate in SCORES.items()}
    found = compared(scored(alone, axes=(OPTIMIZER,)))
    assert (found.best, found.worst, found.best_score) == ("adam", "sgd momentum 0.9", 0.52)
    assert (found.ahead, found.ahead_in_every_seed, found.best_at, found.at_edge) == (1, 0, None, 0)


def test_a_control_in_which_nothing_is_ahead():
    same = {value: {0.1: [0.5, 0.6], 1.0: [0.4, 0.3], 10.0: [0.5, 0.6]} for value in SCORES}
    found = compared(scored(same), tuned=RATE)
    assert (found.best, found.worst) == ("sgd", "sgd"), "of equal ones the first"
    assert (found.ahead, found.ahead_in_every_seed, found.ratio, found.gain, found.at_edge) == (0, 0, 1, 0, 0)


def test_what_is_to_be_high():
    higher = {value: {r: [1 - s for s in seeds] for r, seeds in by.items()} for value, by in SCORES.items()}
    sweep = scored(higher, metric="selected.validation_accuracy")
    found = compared(sweep, tuned=RATE, metric="selected.validation_accuracy", better="higher")
    expected = compared(scored(SCORES), tuned=RATE)
    assert (found.best, found.worst, found.best_score) == ("adam", "sgd", pytest.approx(0.8))
    assert (found.ahead, found.ahead_in_every_seed, found.at_edge) == (2, 1, 2)
    assert found.gain == pytest.approx(expected.gain)
    assert found.ratio == pytest.approx(0.45 / 0.8)


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_what_diverged_is_worse_than_all(better):
    scores = {"sgd": {1.0: [NAN, NAN, 0.1]}, "adam": {1.0: [0.3, 0.3, 0.3]}, "adamax": {1.0: [NAN] * 3}}
    found = compared(scored(scores), tuned=RATE, better=better)
    assert (found.best, found.worst) == ("adam", "sgd")
    assert (found.best_score, found.worst_score, found.reference_score) == (0.3, None, None)
    assert (found.reached, found.ahead, found.at_edge) == (1, 1, 1)
    assert found.ahead_in_every_seed == (1 if better == "higher" else 0), "0.1 of the last seed"
    assert (found.ratio, found.gain) == (None, None)


# --- the best value of the tuned axis ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "best_at", "at_edge"),
    [
        ([0.5, 0.4, 0.6], 2.0, 0),
        ([0.4, 0.5, 0.6], 1.0, 1),
        ([0.6, 0.5, 0.4], 4.0, 1),
        ([0.4, 0.4, 0.4], 2.0, 0),  # of equals the middle one
        ([0.4, 0.4, 0.6], 1.0, 1),  # of two the first
        ([0.4, 0.6, 0.4], 1.0, 1),
        ([0.4, 0.6, NAN], 1.0, 1),
        ([0.6, 0.4, NAN], 2.0, 0),
        ([0.4], 1.0, 1),
        ([0.5, 0.4], 2.0, 1),
    ],
)
def test_where_it_is_best(scores, best_at, at_edge):
    by_rate = {2.0**i: [score] for i, score in enumerate(scores)}
    shuffled = {rate: by_rate[rate] for rate in sorted(by_rate, key=lambda rate: (3 * rate) % 7)}
    found = compared(scored({"sgd": shuffled}), tuned=RATE)
    assert (found.best_at, found.at_edge) == (best_at, at_edge)


def test_what_never_gets_there_has_no_edge():
    found = compared(scored({"sgd": {1.0: [0.5], 2.0: [0.4], 4.0: [0.5]}, "adam": {1.0: [NAN]}}), tuned=RATE)
    assert (found.reached, found.at_edge) == (1, 0)


def test_the_tuned_axis_may_have_other_values_for_each():
    found = compared(scored({"sgd": {1.0: [0.5], 10.0: [0.4]}, "adam": {0.001: [0.3]}}), tuned=RATE)
    assert (found.best, found.best_at, found.at_edge) == ("adam", 0.001, 2)


def test_a_seed_that_failed_is_in_no_median_and_not_ahead():
    sweep = scored({"sgd": {1.0: [0.5, 0.6, 0.7]}, "adam": {1.0: [0.4, 0.2, 0.1]}, "adamax": {1.0: [0.1]}})
    sweep.trials.loc[5, ["status", LOSS]] = ["failed", NAN]
    sweep.trials.loc[6, ["status", LOSS]] = ["failed", NAN]
    found = compared(sweep, tuned=RATE)
    assert (found.best, found.best_score) == ("adam", pytest.approx(0.3))
    assert (found.worst, found.worst_score) == ("adamax", None), "all of it failed"
    assert (found.ahead, found.ahead_in_every_seed) == (1, 0)


# --- steps to a level --------------------------------------------------------------------------------------


def trained(curves, axes=(OPTIMIZER,)):
    """A sweep from value -> a curve of the training loss a seed; None is one that diverged."""
    rows, parts = [], []
    for value, seeds in curves.items():
        for seed, curve in enumerate(seeds):
            row = {OPTIMIZER: value, RATE: 0.1, "seed": seed, "status": "complete" if curve else "diverged"}
            if curve:
                table = {"trial": f"t{len(rows)}", "step": STEPS, "train_loss": curve}
                parts.append(pandas.DataFrame(table | {"train_accuracy": 1 - np.array(curve)}))
            rows.append(row | {LOSS: NAN})
    return sweep_of(rows, axes, pandas.concat(parts))


AT_10, AT_20, AT_40 = [1, 0.1, 0, 0, 0], [1, 0.9, 0.1, 0.5, 0], [1, 1, 1, 1, 0.1]
NEVER, AT_0 = [1, 1, 1, 1, 0.11], [0.1, 1, 1, 1, 1]
LEVEL = {"metric": "train_loss", "level": 0.1}


def test_the_first_step_counts():
    found = compared(trained({"sgd": [AT_20, AT_40, NEVER], "adam": [AT_10, AT_10, AT_40]}), **LEVEL)
    assert (found.best, found.best_score, found.reference_score) == ("adam", 10, 40)
    assert (found.worst, found.worst_score) == ("sgd", 40)
    assert (found.reached, found.ahead, found.ahead_in_every_seed) == (2, 1, 1)
    assert (found.ratio, found.gain) == (4, 30)


def test_of_an_accuracy_it_is_the_first_above_and_fewer_steps_are_better():
    curves = {"sgd": [AT_20], "adam": [AT_10], "adamax": [NEVER]}
    found = compared(trained(curves), metric="train_accuracy", level=0.9, better="higher")
    assert (found.best, found.best_score, found.worst) == ("adam", 10, "adamax")
    assert (found.reached, found.ratio, found.gain) == (2, 2, 10)


def test_a_reference_that_never_gets_there_counts_as_the_last_step():
    found = compared(trained({"sgd": [NEVER, NEVER, AT_10], "adam": [AT_20, AT_20, None]}), **LEVEL)
    assert (found.best, found.best_score, found.reference_score) == ("adam", 20, None)
    assert (found.reached, found.ahead, found.ahead_in_every_seed) == (1, 1, 0)
    assert (found.ratio, found.gain) == (2, 20)


@pytest.mark.parametrize("curves", [{"sgd": [NEVER], "adam": [None]}, {"sgd": [None, NEVER, AT_10]}])
def test_none_gets_there(curves):
    found = compared(trained(curves), **LEVEL)
    assert (found.best, found.worst) == (None, None), "none is named as the best of nothing"
    assert (found.best_score, found.ratio, found.gain, found.reached) == (None, None, None, 0)
    assert found.reason.startswith("the median trial of sgd")


def test_what_is_there_from_the_start_counts_as_one_step():
    found = compared(trained({"sgd": [AT_20], "adam": [AT_0]}), **LEVEL)
    assert (found.best_score, found.ratio, found.gain) == (0, 20, 20)


@pytest.mark.parametrize(("reference", "best"), [(1.0, 0.0), (0.5, -0.5), (-0.5, -1.0)])
def test_no_ratio_of_what_is_not_above_0(reference, best):
    found = compared(scored({"sgd": {1.0: [reference]}, "adam": {1.0: [best]}}), tuned=RATE)
    assert (found.ratio, found.gain) == (None, reference - best)


# --- tables that do not fit --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"metric": "final.validation_los"}, "did you mean 'final.validation_loss'?"),
        ({"metric": "trial"}, "there are no numbers 'trial'"),
        ({"metric": "train_los", "level": 0.1}, "did you mean 'train_loss'?"),
        ({"labels": ["a", "b", "c"]}, "3 labels for 2 values"),
        ({"labels": ["a", "a"]}, "both be called 'a'"),
        ({"along": "optimiser"}, "'optimiser' is no axis"),
    ],
)
def test_what_is_not_there_is_said(arguments, said):
    sweep = trained({"sgd": [AT_20], "adam": [AT_10]})
    with pytest.raises(InvalidValue) as caught:
        make_comparison(**arguments).summarize(sweep)
    assert said in str(caught.value)


def test_a_sweep_whose_trials_all_diverged():
    with pytest.raises(InvalidValue, match="no trial is complete"):
        compared(scored({"sgd": {1.0: [NAN]}, "adam": {1.0: [NAN]}}), tuned=RATE)


# --- words for values --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("adam", "adam"),
        ("{type: sgd, momentum: 0.9}", "sgd momentum 0.9"),
        ("[{type: dense, units: 5}, relu]", "dense units 5, relu"),
        ({"type": "sgd", "momentum": 0.9}, "sgd momentum 0.9"),
        ({"momentum": 0.9, "type": "sgd", "nesterov": True}, "sgd momentum 0.9 nesterov true"),
        (
            {"type": "sgd", "learning_rate": {"type": "power", "decay": 1e-5}},
            "sgd learning_rate power decay 1e-05",
        ),
        ([{"type": "dense", "units": 5}, "relu"], "dense units 5, relu"),
        ({"train": 0.5, "test": None}, "train 0.5 test none"),
        ([], "none"),
        (None, "none"),
        (math.nan, "none"),
        (0.1, "0.1"),
        (32, "32"),
        (True, "true"),
        (np.False_, "false"),
        ([{"type": "dense", "units": 500}] * 9, "dense units 500, dense units 500, dense ..."),
    ],
)
def test_a_value_in_words(value, said):
    assert value_in_words(value, settings("model")) == said


def test_what_is_tuned_in_a_value_is_not_said():
    value = {"type": "sgd", "learning_rate": 0.1, "momentum": 0.9}
    assert value_in_words(value, settings(OPTIMIZER, RATE)) == "sgd momentum 0.9"
    assert value_in_words(value, settings(OPTIMIZER)) == "sgd learning_rate 0.1 momentum 0.9"


OPTIMIZERS = "optimizer: [{type: sgd, learning_rate: 1}, {type: adam, learning_rate: 1}]"
RATES = "optimizer.learning_rate: [0.1, 1.0]"

# an axis of a file -> the labels of its values, read back from trials.csv
VALUES = {
    "data.normalize: [null, standardize, {type: min_max, low: -1}]": [
        "none",
        "standardize",
        "min_max low -1",
    ],
    "regularizers: [[], [{type: l2, strength: 0.5}]]": ["none", "l2 strength 0.5"],
    "data.batch_size: [8, full]": ["8", "full"],
    "data.limit: [null, 100]": ["none", "100"],
    "model.2.use_bias: [true, false]": ["true", "false"],
    "optimizer.learning_rate: {logspace: [-2, 0, 3]}": ["0.01", "0.1", "1"],
    '"model.0.units, model.2.units": [4, 2]': ["4", "2"],
}
SWEPT = """\
name: swept
data: {type: xor, examples: 60}
model: [{type: dense, units: 4}, relu, {type: dense, units: 2}]
optimizer: {type: sgd, learning_rate: 0.01}
train: {steps: 4}
record: {every: {steps: 2}, layers: false}
"""


def written(text, folder):
    """A sweep as it lies on the disk when the validation loss of its trials came to 0, 1, 2, ..."""
    config = check_tree(parse(text, "swept.yaml"))
    trials, directory = trials_of(config), SweepDirectory(folder)
    summaries = [{"status": "complete", "final": {"validation_loss": float(i)}} for i in range(len(trials))]
    rows = [row_of(trial, summary) for trial, summary in zip(trials, summaries, strict=True)]
    write_trials(directory, list(trials[0].axes), rows)
    return results.Sweep(directory.path, config, {}, read_trials(directory.path / "trials.csv"))


@pytest.mark.parametrize(("axis", "labels"), VALUES.items())
def test_values_of_every_kind_are_told_apart(axis, labels, tmp_path):
    path = axis.split('"')[1].split(",")[0] if axis[0] == '"' else axis.split(":")[0]
    phenomena = f"phenomena: [{{type: comparison, along: {path}}}]\n"
    sweep = written(f"{SWEPT}{phenomena}sweep: {{axes: {{{axis}}}, seeds: 2}}\n", tmp_path)
    (built,) = sweep.config.build().phenomena
    assert [c.label for c in find_contenders(sweep, settings(path))] == labels
    found = built.summarize(sweep)
    assert (found["best"], found["worst"], found["best_score"]) == (labels[0], labels[-1], 0.5)
    assert found["worst_score"] == 2 * len(labels) - 1.5


def test_the_tuned_axis_may_be_drawn(tmp_path):
    rates = "random: {draws: 3, axes: {optimizer.learning_rate: {log_uniform: [0.001, 1.0]}}}"
    phenomenon = "{type: comparison, along: optimizer, tuned: optimizer.learning_rate, labels: [plain, Adam]}"
    block = f"phenomena: [{phenomenon}]\nsweep: {{axes: {{{OPTIMIZERS}}}, {rates}}}\n"
    sweep = written(SWEPT + block, tmp_path)
    (built,) = sweep.config.build().phenomena
    found = built.summarize(sweep)
    assert (found["best"], found["worst"]) == ("plain", "Adam")
    assert found["best_at"] == sweep.completed_trials[RATE][0]


def test_what_moves_with_the_axis_is_seen_along_it(tmp_path):
    block = f"sweep: {{zip: {{{OPTIMIZERS}, data.batch_size: [8, 8]}}}}\n"
    sweep = written(f"{SWEPT}phenomena: [{{type: comparison, along: optimizer}}]\n{block}", tmp_path)
    (built,) = sweep.config.build().phenomena
    assert built.summarize(sweep)["reached"] == 2


# --- sweeps that cannot be compared ------------------------------------------------------------------------

REFUSED = {
    "no sweep": ("along: optimizer", None, "add a 'sweep:' block"),
    "no such axis": ("along: optimiser", f"axes: {{{OPTIMIZERS}}}", "did you mean 'optimizer'?"),
    "no such tuned axis": (
        "along: optimizer, tuned: optimizer.learning_rat",
        f"axes: {{{OPTIMIZERS}, {RATES}}}",
        "did you mean 'optimizer.learning_rate'?",
    ),
    "a third path": (
        "along: optimizer, tuned: optimizer.learning_rate",
        f"axes: {{{OPTIMIZERS}, {RATES}, data.batch_size: [8, 16]}}",
        "comparison is seen along 'optimizer' and 'optimizer.learning_rate'; 'data.batch_size' varies too",
    ),
    "values that do not tell what moves with them apart": (
        "along: data.batch_size",
        f"zip: {{{OPTIMIZERS}, data.batch_size: [8, 8]}}",
        "'optimizer' varies too",
    ),
    "a path that should have been tuned": (
        "along: optimizer",
        f"axes: {{{OPTIMIZERS}, {RATES}}}",
        "'optimizer.learning_rate' varies too",
    ),
    "words to tune": (
        "along: optimizer.learning_rate, tuned: optimizer",
        f"axes: {{{OPTIMIZERS}, {RATES}}}",
        "comparison reads along numbers, and 'optimizer' has the value",
    ),
    "one for both": (
        "along: optimizer, §tuned: optimizer",
        f"axes: {{{OPTIMIZERS}}}",
        "compared and tuned at",
    ),
    "one axis for both": (
        "along: model.0.units, §tuned: model.2.units",
        'axes: {"model.0.units, model.2.units": [2, 4]}',
        "compared and tuned at once",
    ),
    "epochs": ("along: epochs", "seeds: 2", "'epochs' is no axis of a sweep"),
    "too few labels": ("along: optimizer, §labels: [a]", f"axes: {{{OPTIMIZERS}}}", "1 labels for 2 values"),
    "labels that are alike": (
        "along: optimizer, §labels: [a, a]",
        f"axes: {{{OPTIMIZERS}}}",
        "both be called 'a'",
    ),
    "values that are alike": (
        "along: optimizer",
        "axes: {optimizer: [sgd, {type: sgd}]}",
        "both be called 'sgd'; give each a label of its own",
    ),
    "drawn values": (
        "§along: optimizer",
        "random: {draws: 3, axes: {optimizer: {choice: [sgd, adam]}}}",
        "list them under sweep.axes",
    ),
    "a level of a summary's number": (
        "along: optimizer, §metric: final.train_loss, level: 0.1",
        f"axes: {{{OPTIMIZERS}}}",
        "such as 'train_loss'",
    ),
    "numbers of what is not examined": (
        "along: optimizer, metric: symmetry.unit_spread",
        f"axes: {{{OPTIMIZERS}}}",
        "add symmetry to 'phenomena'",
    ),
    "a rate chosen by the test set": (
        "along: optimizer, tuned: optimizer.learning_rate, §metric: selected.test_loss",
        f"axes: {{{OPTIMIZERS}, {RATES}}}",
        "never of the test set",
    ),
    "neither lower nor higher": (
        "along: optimizer, §better: more",
        f"axes: {{{OPTIMIZERS}}}",
        "lower or higher",
    ),
}


@pytest.mark.parametrize(("arguments", "sweep", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_compared_is_one_line(arguments, sweep, said, folder, marked):
    place = "" if "§" in arguments else "§"
    block = f"sweep: {{{sweep}}}\n" if sweep else ""
    text, (at,) = marked(f"{SWEPT}phenomena: [{place}{{type: comparison, {arguments}}}]\n{block}")
    (folder / "swept.yaml").write_text(text)
    result = run_nnlab("sweep", "swept.yaml")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"swept.yaml:{at}: ")
    assert said in line
    assert [path.name for path in folder.iterdir()] == ["swept.yaml"]


# --- the figure --------------------------------------------------------------------------------------------


def drawn(sweep, **arguments):
    """The title, and the axes."""
    axes = make_comparison(**arguments).figures["comparison"]([sweep]).axes
    return (axes[0].get_title(loc="left") + axes[0].get_title()).replace("\n", " "), axes


@pytest.mark.parametrize(
    ("curves", "said"),
    [
        ({"sgd": [AT_40], "adam": [AT_10]}, "adam first, after 10 steps, 4 times fewer than sgd"),
        ({"sgd": [NEVER], "adam": [AT_20]}, "adam first, after 20 steps, at least 2 times fewer than sgd"),
        ({"sgd": [AT_20], "adam": [AT_40]}, "sgd first, after 20 steps"),
        ({"sgd": [NEVER], "adam": [None]}, "none comes to training loss ≤ 0.1"),
    ],
)
def test_the_title_says_what_comes_out(curves, said):
    title, _ = drawn(trained(curves), **LEVEL)
    assert title == f"sweep: {said}"


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (
            {"sgd": {1.0: [0.5]}, "adam": {1.0: [0.25]}},
            "adam is best with 0.25, sgd has 0.5; 2 at an end of the axis",
        ),
        ({"sgd": {1.0: [0.5], 2.0: [0.4], 4.0: [0.5]}}, "sgd alone: 0.4"),
        (
            {"sgd": {1.0: [NAN]}, "adam": {1.0: [0.25]}},
            "adam is best with 0.25, sgd has none; 1 at an end of the axis",
        ),
    ],
)
def test_the_title_of_scores(scores, said):
    title, _ = drawn(scored(scores), tuned=RATE)
    assert title == f"sweep: {said}"


def test_along_the_tuned_axis_a_line_a_value_the_best_first_in_the_legend():
    _, (left, right) = drawn(scored(SCORES), tuned=RATE)
    (legend,) = left.figure.legends
    lines = {line.get_label(): line for line in left.get_lines() if not line.get_label().startswith("_")}
    assert list(lines) == ["adam, 0.1", "sgd momentum 0.9, 0.1", "sgd, 1"]
    np.testing.assert_allclose(lines["adam, 0.1"].get_xydata(), [[0.1, 0.2], [1, 0.52], [10, 2]])
    np.testing.assert_allclose(lines["sgd, 1"].get_xydata(), [[0.1, 0.9], [1, 0.55], [10, NAN]])
    rings = [line.get_xydata().tolist() for line in left.get_lines() if line.get_markersize() == 8]
    assert rings == [[[0.1, 0.2]], [[0.1, 0.4]], [[1.0, 0.55]]]
    assert (left.get_xscale(), left.get_yscale()) == ("log", "log")
    assert [text.get_text() for text in legend.get_texts()] == list(lines)
    assert (left.get_xlabel(), right.get_ylabel()) == ("learning rate (log scale)", "validation loss, median")


def test_where_nothing_has_a_score_the_tuned_axis_is_drawn_all_the_same():
    title, (left, _) = drawn(trained({"sgd": [NEVER], "adam": [NEVER]}, AXES), tuned=RATE, **LEVEL)
    assert left.get_xlim()[0] > 0
    left.figure.draw_without_rendering()
    assert title == "sweep: none comes to training loss ≤ 0.1"


def test_without_a_tuned_axis_a_row_a_value_the_best_on_top():
    curves = {"sgd": [AT_40, AT_40, None], "adam": [AT_20, AT_10, AT_20], "adamax": [None, NEVER, AT_10]}
    _, (left, right) = drawn(trained(curves), **LEVEL)
    assert [label.get_text() for label in left.get_yticklabels()] == ["adam", "sgd", "adamax"]
    assert left.get_ylim()[0] > left.get_ylim()[1], "downwards"
    bars = [line.get_xydata().tolist() for line in left.get_lines() if line.get_marker() == "|"]
    assert bars == [[[20, 0]], [[40, 1]]]
    late = [len(line.get_xdata()) for line in left.get_lines() if line.get_marker() == ">"]
    assert late == [0, 1, 2]
    assert left.get_xlabel() == "first step with training loss ≤ 0.1; triangles: never"
    found = [line.get_ydata() for line in right.get_lines()]
    for line, expected in zip(found, (AT_20, AT_40), strict=False):
        np.testing.assert_array_equal(line, expected)


@pytest.mark.parametrize("metric", ["sparsity.final_fraction", "parameters", "final.validation_accuracy"])
def test_what_metrics_csv_does_not_have_is_one_panel(metric):
    tuned = RATE if metric.startswith("final") else None  # nothing else may choose
    _, axes = drawn(scored(SCORES, metric=metric), tuned=tuned, metric=metric)
    assert len(axes) == 1


def test_the_more_values_the_higher_and_two_sweeps_are_two_rows():
    many = scored({f"v{i}": {1.0: [float(i)]} for i in range(40)}, axes=(OPTIMIZER,))
    few = scored({f"v{i}": {1.0: [float(i)]} for i in range(4)}, axes=(OPTIMIZER,))
    heights = [
        make_comparison().figures["comparison"](sweeps).get_figheight()
        for sweeps in ([few], [few, few], [many])
    ]
    assert heights[1] == 2 * heights[0]
    assert heights[2] > 40 * 0.2


def test_more_lines_than_colours_are_told_apart():
    _, (left, _) = drawn(scored({f"v{i}": {1.0: [1.0], 2.0: [2.0]} for i in range(20)}), tuned=RATE)
    lines = [line for line in left.get_lines() if not line.get_label().startswith("_")]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 20


@pytest.mark.parametrize(("last", "scale"), [(0, "log"), (1e-3, "log"), (0.5, "linear"), (-0.5, "linear")])
def test_curves_that_span_much_are_on_a_log_axis(last, scale):
    _, (_, right) = drawn(trained({"sgd": [[1, 1, 1, 0.01 if scale == "log" else 1, last]]}), **LEVEL)
    assert right.get_yscale() == scale


def test_a_value_that_is_not_trained_is_seen_among_the_curves():
    sweep = trained({"sgd": [AT_20], "adam": [AT_10]})
    metrics = sweep.tables["metrics"]
    sweep.tables["metrics"] = metrics[(metrics["trial"] == "t0") | (metrics["step"] == 0)]
    _, (_, right) = drawn(sweep, **LEVEL)
    assert [line.get_marker() for line in right.get_lines()[:2]] == ["", "o"]


def test_more_values_than_lines_can_be_read():
    sweep = scored({f"v{i}": {1.0: [1.0]} for i in range(1_001)}, axes=(OPTIMIZER,))
    with pytest.raises(InvalidValue, match="1,001 values are too many"):
        drawn(sweep)
