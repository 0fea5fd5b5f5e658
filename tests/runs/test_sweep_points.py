"""The points of a sweep: means over seeds, the best one, and what is counted; on made-up tables."""

import math
from pathlib import Path

import numpy as np
import pandas
import pytest

from nnlab.config import check_tree
from nnlab.config.document import parse
from nnlab.config.split_roles import SweepMetric, search_metric, sweep_metric
from nnlab.runs.results import Sweep
from nnlab.runs.sweep_points import labels_of, short_names, sweep_points
from nnlab.text import with_deviation

BASE = """\
name: swept
data: {type: xor, examples: 120}
model: {type: mlp, width: 4, depth: 1, outputs: 2}
train: {epochs: 3}
"""
BY = "final.validation_accuracy"
REPORTED = "final.test_accuracy"


def sweep_of(rows, axes="model.width: [2, 4, 8]", more="seeds: 3", base=BASE):
    """A sweep with these rows as its trials.csv."""
    config = check_tree(parse(f"{base}sweep: {{axes: {{{axes}}}, {more}}}\n", "f.yaml"))
    trials = pandas.DataFrame(rows).assign(reason=np.nan)
    return Sweep(Path("out"), config, {"status": "complete"}, trials)


def row(width, seed, validation, test=None, status="complete", **more):
    test = validation if test is None else test
    path = {"model.width": width} if width is not None else {}
    return (
        path
        | {"trial": f"t{width}{seed}", "seed": seed, "status": status, BY: validation, REPORTED: test}
        | more
    )


THREE = [
    *(row(2, seed, value, 0.9) for seed, value in enumerate([0.5, 0.6, 0.7])),
    *(row(4, seed, value, 0.1) for seed, value in enumerate([0.8, 0.9, 0.85])),
    *(row(8, seed, value, 0.2) for seed, value in enumerate([0.7, 0.7, 0.9])),
]


def test_means_and_deviations_are_numpys():
    points = sweep_of(THREE).points
    assert points["model.width"].tolist() == [2, 4, 8]
    values = np.array([r[BY] for r in THREE]).reshape(3, 3)
    np.testing.assert_allclose(points[f"{BY}.mean"], values.mean(1))
    np.testing.assert_allclose(points[f"{BY}.std"], values.std(1, ddof=1))
    np.testing.assert_allclose(points[f"{REPORTED}.mean"], [0.9, 0.1, 0.2])
    assert points["count"].tolist() == [3, 3, 3]
    assert points["best"].tolist() == [False, True, False], "the test set, best at 2, chooses nothing"


def test_the_trials_that_did_not_come_through_are_counted_and_not_averaged():
    rows = [
        row(2, 0, 0.5),
        row(2, 1, 0.7),
        row(2, 2, np.nan, status=np.nan),
        row(4, 0, 0.9),
        row(4, 1, 9.0, status="diverged"),
        row(4, 2, np.nan, status="failed"),
        *(row(8, seed, 1.0, status="diverged") for seed in range(3)),
    ]
    points = sweep_of(rows).points
    assert points[["count", "diverged", "failed", "missing"]].to_numpy().tolist() == [
        [2, 0, 0, 1],
        [1, 1, 1, 0],
        [0, 3, 0, 0],
    ]
    np.testing.assert_allclose(points[f"{BY}.mean"], [0.6, 0.9, np.nan])
    assert points["best"].tolist() == [True, False, False], "at 4 a trial diverged"
    assert sweep_of(rows[3:]).points["best"].tolist() == [True, False], "there is no other"
    table = sweep_points(sweep_of(rows)).in_words()
    assert table.head == [
        "width",
        "validation\naccuracy",
        "test\naccuracy",
        "trials",
        "diverged",
        "failed",
        "missing",
        "",
    ]
    assert table.rows[0] == ["2", "0.60 ± 0.14", "0.60 ± 0.14", "2", "0", "0", "1", "best"]
    assert table.rows[2] == ["8", "-", "-", "0", "3", "0", "0", ""]


def test_a_sweep_that_has_come_to_nothing_has_no_best():
    for rows in (
        [row(2, 0, np.nan, status="diverged"), row(4, 0, np.nan, status="failed")],
        [row(2, 0, np.nan, status=np.nan)],
    ):
        sweep = sweep_of(rows, more="seeds: 1")
        assert not sweep.points["best"].any()
        assert sweep.points_in_words.title == "no trial is complete, there is no best"
        assert len(sweep.points_in_words.rows) == len(rows)
    begun = sweep_of({name: [] for name in ("trial", "seed", "status")})
    assert begun.points.empty
    assert begun.points_in_words.rows == []
    assert "there is no best" in begun._repr_html_()


def test_a_fold_is_no_choice():
    rows = [row(width, seed, 0.1 * width + 0.01 * fold + 0.001 * seed, **{"data.split.fold": fold})
            for width in (2, 4) for fold in range(4) for seed in (0, 1)]  # fmt: skip
    base = BASE.replace("examples: 120", "examples: 120, split: {folds: 4, fold: 0}")
    points = sweep_points(
        sweep_of(rows, "model.width: [2, 4], data.split.fold: [0, 1, 2, 3]", "seeds: 2", base)
    )
    assert points.axes == ["model.width"]
    assert points.replicates == "4 folds and 2 seeds"
    expected = np.array([r[BY] for r in rows]).reshape(2, 8)
    np.testing.assert_allclose(points.table[f"{BY}.std"], expected.std(1, ddof=1))
    assert points.in_words().rows[1][1:] == ["0.415 ± 0.012", "0.415 ± 0.012", "best"]


def test_seeds_alone_are_one_point():
    table = sweep_of(
        [row(None, seed, value) for seed, value in enumerate([0.5, 0.7])], "", "seeds: 2"
    ).points_in_words
    assert table.head == ["validation\naccuracy", "test\naccuracy"]
    assert table.rows == [["0.60 ± 0.14", "0.60 ± 0.14"]]
    rows = [row(None, 0, 0.5), row(None, 1, np.nan, status="failed"), row(None, 2, 0.7)]
    lacking = sweep_of(rows, "", "seeds: 3").points_in_words
    assert lacking.head == ["validation\naccuracy", "test\naccuracy", "trials", "failed"]
    assert lacking.rows == [["0.60 ± 0.14", "0.60 ± 0.14", "2", "1"]]


def test_a_missing_value_is_a_point_of_its_own():
    axes = "data.normalize: [null, standardize]"
    rows = [
        row(None, seed, 0.5, **{"data.normalize": value})
        for value in (np.nan, "standardize")
        for seed in (0, 1)
    ]
    table = sweep_of(rows, axes, "seeds: 2").points_in_words
    assert [cells[0] for cells in table.rows] == ["none", "standardize"]
    assert table.right == [1, 2, 3]


def test_many_points_come_best_first_and_the_rest_are_counted():
    widths = list(range(2, 52))
    rows = [row(width, 0, 0.5 + 0.001 * ((7 * width) % 50)) for width in widths]
    table = sweep_of(rows, f"model.width: {widths}", "seeds: 1").points_in_words
    shown = [float(cells[1]) for cells in table.rows]
    assert (len(shown), table.left_out) == (20, 30)
    assert shown == sorted(shown, reverse=True)
    assert table.rows[0][-1] == "best"
    in_order = sweep_of(rows[:40], f"model.width: {widths[:40]}", "seeds: 1").points_in_words
    assert [int(cells[0]) for cells in in_order.rows] == widths[:40]
    drawn = "random: {draws: 5, axes: {model.width: {integers: [2, 9]}}}, seeds: 1"
    losses = [{**row(width, 0, np.nan), "final.train_loss": width / 10} for width in (5, 3, 9)]
    table = sweep_of(losses, "", drawn).points_in_words
    assert [cells[0] for cells in table.rows] == ["3", "5", "9"], "of a loss the smallest"


@pytest.mark.parametrize(
    ("numbers", "restores", "expected"),
    [
        ("final.train_loss final.test_loss", False, ("final.train_loss", "final.test_loss", "minimize")),
        (
            "final.validation_loss final.test_loss selected.train_loss selected.validation_loss",
            True,
            ("selected.validation_loss", "selected.validation_loss", "minimize"),
        ),
        (
            "final.train_loss final.train_accuracy final.validation_accuracy best.test_accuracy",
            False,
            ("final.validation_accuracy", "final.validation_accuracy", "maximize"),
        ),
        ("final.test_loss parameters.count", False, None),
        ("", False, None),
    ],
)
def test_what_a_sweep_is_judged_by(numbers, restores, expected):
    found = sweep_metric(numbers.split(), restores)
    assert found == (expected and SweepMetric(*expected))


@pytest.mark.parametrize(
    ("metric", "reported"),
    [
        ("final.validation_loss", "final.test_loss"),
        ("best.validation_loss", "selected.test_loss"),
        ("final.grad_norm", "final.grad_norm"),
        ("final.train_accuracy", "final.train_accuracy"),
    ],
)
def test_a_search_is_judged_by_its_metric(metric, reported):
    numbers = "final.validation_loss final.test_loss best.validation_loss best.test_loss selected.test_loss "
    numbers += "final.grad_norm final.train_accuracy"
    assert search_metric(metric, "minimize", numbers.split()) == SweepMetric(metric, reported, "minimize")
    assert search_metric("final.other", "minimize", numbers.split()) is None


def test_names_and_values_in_few_words():
    paths = ["optimizer.learning_rate", "model.0.units", "model.2.units", "model.1", "a.width,b.width"]
    assert short_names(paths) == ["learning_rate", "model.0.units", "model.2.units", "model.1", "width"]
    paths = [f"data/of/a/long/path/to/table_{i}.csv" for i in (1, 2)]
    assert labels_of(paths) == ["data/of/a/...h/to/table_1.csv", "data/of/a/...h/to/table_2.csv"]
    cells = ["{type: sgd, momentum: 0.9}", "[{type: dense, units: 2}, relu]", 0.1, True, np.nan, "adam"]
    assert labels_of(cells) == ["sgd momentum 0.9", "dense units 2, relu", "0.1", "true", "none", "adam"]


@pytest.mark.parametrize(
    ("mean", "deviation", "text"),
    [
        (0.93123, 0.0123, "0.931 ± 0.012"),
        (0.5, 0.2, "0.50 ± 0.20"),
        (1.0, 0.0, "1 ± 0"),
        (1.23e-5, 3.1e-7, "1.230e-05 ± 3.1e-07"),
        (1234.0, 560.0, "1234 ± 560"),
        (0.1, 3.0, "0.1 ± 3.0"),
        (0.1234567890123, 1e-12, "1.23457e-01 ± 1.0e-12"),
        (-0.93123, 0.0123, "-0.931 ± 0.012"),
        (0.123456, math.nan, "0.1235"),
        (math.inf, 1.0, "inf"),
        (123456.789, 0.5, "123457 ± 0.5"),
        (2.76e15, 6.7e15, "2.8e+15 ± 6.7e+15"),
    ],
)
def test_a_mean_is_given_to_the_second_digit_of_its_deviation(mean, deviation, text):
    assert with_deviation(mean, deviation) == text
