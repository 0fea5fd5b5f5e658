"""The three factors of the peak in least squares: against NumPy, in ablations, in words."""

import numpy as np
import pandas
import pytest
from support import FakeRun, experiment_of, title_of

from nnlab.errors import ConfigError
from nnlab.phenomena.generalization.peak_factors import cause_of_peak, detect
from nnlab.registry import build
from nnlab.training.closed_form import fit

SAMPLES = {"type": "linear_teacher", "examples": 6, "features": 9, "seen": 6, "test_examples": 80}
TREE = {
    "name": "t",
    "data": SAMPLES,
    "model": {"type": "dense", "units": 1, "use_bias": False},
    "loss": "squared_error",
    "solver": "least_squares",
    "phenomena": ["peak_factors"],
}


def solved(**changes):
    """The data, and a run that holds the tables, of a small version of double_descent_samples.yaml."""
    experiment = experiment_of(TREE | changes)
    (chunk,) = fit(experiment)
    tables = {name: pandas.DataFrame(columns) for name, columns in chunk.tables.items()}
    return experiment.data, FakeRun(tables, {}, "planted")


def test_the_directions_are_those_of_numpy():
    data, run = solved()
    table = run.tables["directions"]
    x, y = data.train.inputs.astype(float), data.train.targets.astype(float)
    test_x, test_y = data.test.inputs.astype(float), data.test.targets.astype(float)
    u, s, vt = np.linalg.svd(x)
    best = np.linalg.solve(test_x.T @ test_x, test_x.T @ test_y)
    np.testing.assert_allclose(table["singular_value"], s, rtol=1e-9)
    np.testing.assert_allclose(table["gain"], 1 / s, rtol=1e-9)
    np.testing.assert_allclose(table["target"], np.abs(u.T @ y)[:, 0], rtol=1e-6)
    np.testing.assert_allclose(table["residual"], np.abs(u.T @ (y - x @ best))[:, 0], rtol=1e-6)
    np.testing.assert_allclose(table["test_feature"], np.sqrt(np.square(test_x @ vt.T).mean(0)), rtol=1e-9)
    assert table["direction"].tolist() == [1, 2, 3, 4, 5, 6]
    found = detect(run)
    assert found.amplification == pytest.approx(np.sqrt(np.square(s).mean()) / s[-1])
    errors = np.square(table["residual"] * table["test_feature"] / s)
    assert found.error_share == pytest.approx(errors.iloc[-1] / errors.sum())
    assert found.reason is None


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({}, None),
        ({"solver": {"type": "least_squares", "singular_value_cutoff": 2.0}}, "amplification"),
        ({"data": SAMPLES | {"residual": False}}, "residual"),
        ({"solver": {"type": "least_squares", "test_modes": 2}}, "test_feature"),
    ],
)
def test_each_ablation_takes_away_one_factor(changes, missing):
    found = detect(solved(**changes)[1])
    for name in ("amplification", "residual", "test_feature"):
        assert (getattr(found, name) < 1e-3) == (name == missing), name


def test_more_features_than_held_out_examples_have_no_best_model():
    found = detect(solved(data=SAMPLES | {"test_examples": 6})[1])
    assert (found.residual, found.error_share) == (None, None)
    assert "more held-out examples" in found.reason
    assert found.amplification > 0


def test_what_is_not_asked_for_is_not_there():
    assert set(solved(phenomena=[])[1].tables) == {"metrics"}
    with pytest.raises(ConfigError, match="takes apart what a solver finds; give a solver"):
        experiment_of(TREE | {"solver": None, "train": {"steps": 1}})


def trials(**columns):
    """Trials of two seeds at the capacities 5, 10 and 20, with these factors at each."""
    usual = {
        "variation": [0.9, 0.1, 0.5],
        "amplification": [1.0, 2.0, 1.0],
        "residual": [0.5] * 3,
        "test_feature": [1.0] * 3,
    }
    table = pandas.DataFrame({f"peak_factors.{k}": v for k, v in (usual | columns).items()})
    return pandas.concat([table.assign(n=[5, 10, 20])] * 2)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"amplification": [1.0, 60.0, 1.0]}, "small singular values made it (of 1/s 60, of the residual 1,"),
        (
            {"residual": [0.1, 0.9, 0.1]},
            "the residual of the best linear model made it (of 1/s 2, of the",
        ),
        ({"test_feature": [0.1, 0.7, 0.1]}, "test features in unseen directions made it"),
        ({"amplification": [1.0, 0.0, 1.0]}, "small singular values are not divided by"),
        ({"residual": [0.0, 0.0, 0.0]}, "leaves no residual"),
        ({"test_feature": [1.0, 1e-9, 1.0]}, "nothing in the unseen directions"),
        ({"residual": [np.nan] * 3}, ""),
    ],
)
def test_the_cause_is_the_factor_that_grew_or_is_missing(columns, words):
    cause = cause_of_peak(trials(**columns), "n", 10, 5)
    assert words in cause
    assert bool(cause) == bool(words)


def test_without_a_peak_there_is_a_cause_only_where_a_factor_is_missing():
    assert cause_of_peak(trials(), "n", None, 5) == ""
    assert cause_of_peak(trials(residual=[0.0] * 3), "n", None, 5)
    assert cause_of_peak(trials()[["n"]], "n", 10, 5) == ""
    assert cause_of_peak(trials(residual=[0.5, 0.0, 0.5]), "n", None, 5), "where they vary least"
    assert cause_of_peak(trials(residual=[0.5, 0.5, 0.0]), "n", None, 5) == ""


def test_the_factors_are_drawn_by_direction():
    run = solved()[1]
    draw = build("phenomenon", "peak_factors").figures["peak_factors"]
    figure = draw([run])
    assert "of the error by the last direction" in figure.get_suptitle()
    assert [title_of(ax) for ax in figure.axes][3] == "The error that they make"
    assert len(draw([run, run]).axes[0].get_lines()) == 2
