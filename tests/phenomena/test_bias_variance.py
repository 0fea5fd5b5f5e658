"""Bias and variance on tables with a known answer, and on random features with and without a penalty."""

from pathlib import Path

import numpy as np
import pandas
import pytest
from support import FakeSweep, title_of

from nnlab.config import check_tree, load
from nnlab.config.document import Document
from nnlab.errors import ConfigError, InvalidValue
from nnlab.phenomena.base import SweepPhenomenon
from nnlab.phenomena.generalization import bias_variance
from nnlab.phenomena.generalization.bias_variance import decompose, detect
from nnlab.registry import build
from nnlab.training.closed_form import fit
from nnlab.training.experiment import build_experiment

UNITS = "model.0.units"


def sweep_of(predictions, losses=None, axis=UNITS):
    """A sweep, from tables by (capacity, seed)."""
    parts, rows = [], []
    for (capacity, seed), table in predictions.items():
        row = {"trial": f"{capacity}-{seed}", axis: capacity, "seed": seed}
        parts.append(table.assign(trial=row["trial"]))
        test = table[table["split"] == "test"]
        loss = float(((test["prediction"] - test["target"]) ** 2).mean())
        rows.append(row | {"status": "complete", "final.test_loss": losses[capacity] if losses else loss})
    shuffled = pandas.concat(parts).sample(frac=1, random_state=0)
    return FakeSweep(pandas.DataFrame(rows), {"predictions": shuffled}, [axis])


def table_of(test, target, outputs=1):
    """The table `predictions` of one trial; its training rows are far off and must not count."""
    count = len(test) // outputs
    columns = {
        "example": np.repeat(np.arange(count), outputs),
        "output": np.tile(np.arange(outputs), count),
        "target": target,
    }
    train = pandas.DataFrame({"split": "train", **columns, "prediction": 1e6})
    return pandas.concat([train, pandas.DataFrame({"split": "test", **columns, "prediction": test})])


def constructed(bias, spread, seeds=4, outputs=1, **options):
    """Predictions target + bias +- spread, half of the seeds each: variance spread^2, whatever the point."""
    target = np.linspace(-1, 1, 6 * outputs)
    tables = {}
    for capacity in bias:
        for seed in range(seeds):
            off = bias[capacity] + (spread[capacity] if seed % 2 else -spread[capacity])
            tables[capacity, seed] = table_of(target + off, target, outputs)
    return sweep_of(tables, **options)


PEAKED = {"bias": {3: 0.9, 10: 0.5, 30: 0.4, 100: 0.3}, "spread": {3: 0.1, 10: 5.0, 30: 1.0, 100: 0.2}}


@pytest.mark.parametrize("outputs", [1, 3])
def test_the_parts_are_those_that_were_put_in(outputs):
    curve = decompose(constructed(**PEAKED, outputs=outputs), UNITS)
    assert curve.index.tolist() == [3, 10, 30, 100]
    np.testing.assert_allclose(curve["bias_squared"], np.square([0.9, 0.5, 0.4, 0.3]))
    np.testing.assert_allclose(curve["variance"], np.square([0.1, 5.0, 1.0, 0.2]))
    np.testing.assert_allclose(curve["bias_squared"] + curve["variance"], curve["risk"])
    np.testing.assert_allclose(curve["risk"], curve["test_loss"])


def test_the_numbers_of_a_peak():
    numbers = detect(constructed(**PEAKED), UNITS)
    assert numbers.variance_peak == pytest.approx(25.0)
    assert numbers.variance_peak_capacity == 10
    assert numbers.variance_peaks_sharply is True
    assert numbers.bias_falls is True
    assert numbers.decomposition_error < 1e-12


@pytest.mark.parametrize(
    ("spread", "rises_then_falls"),
    [
        ([0.1, 1.0, 2.0, 0.1], True),
        ([2.0, 1.0, 0.5, 0.1], False),  # only falls
        ([0.1, 0.5, 1.0, 2.0], False),  # only rises
        ([0.1, 1.0, 2.0, 0.64], False),  # falls to 0.1024 of its peak
        ([0.1, 1.0, 2.0, 0.63], True),
        ([0.64, 1.0, 2.0, 0.1], False),
        ([0.0, 0.0, 0.0, 0.0], False),
    ],
)
def test_a_peak_is_ten_times_both_ends(spread, rises_then_falls):
    capacities = [1, 2, 3, 4]
    bias = dict.fromkeys(capacities, 1.0)
    numbers = detect(constructed(bias, dict(zip(capacities, spread, strict=True))), UNITS)
    assert numbers.variance_peaks_sharply is rises_then_falls
    assert numbers.bias_falls is False


def test_the_order_of_capacities_is_that_of_the_numbers():
    shuffled = {part: {c: PEAKED[part][c] for c in (100, 3, 30, 10)} for part in PEAKED}
    assert detect(constructed(**shuffled), UNITS)[:4] == detect(constructed(**PEAKED), UNITS)[:4]


def test_a_risk_that_is_not_the_sum_is_told():
    losses = {3: 0.82, 10: 25.25, 30: 1.16 * 1.25, 100: 0.13}
    numbers = detect(constructed(**PEAKED, losses=losses), UNITS)
    assert numbers.decomposition_error == pytest.approx(0.2)


def test_paths_that_move_together_are_one_capacity():
    joint = "model.0.units, model.1.units"
    assert detect(constructed(**PEAKED, axis=joint), UNITS).variance_peak_capacity == 10


def test_without_predictions_the_key_that_is_missing_is_named():
    file = Path(__file__).parents[2] / "experiments" / "bias_variance.yaml"
    with pytest.raises(ConfigError, match=r"reads the final outputs; give record: .*predictions: true"):
        load(file, ["record.predictions=false"])


def test_a_test_set_that_changes_with_the_seed_is_refused():
    tables = {(c, s): table_of(np.zeros(4), np.full(4, float(s))) for c in (1, 2, 3) for s in range(2)}
    with pytest.raises(InvalidValue, match="one test set"):
        detect(sweep_of(tables), UNITS)


def test_one_seed_is_refused():
    with pytest.raises(InvalidValue, match="two seeds"):
        detect(constructed(**PEAKED, seeds=1), UNITS)


def test_data_without_a_test_set_are_refused():
    sweep = constructed(**PEAKED)
    table = sweep.tables["predictions"]
    sweep.tables["predictions"] = table[table["split"] == "train"]
    with pytest.raises(InvalidValue, match="test examples"):
        detect(sweep, UNITS)


# --- random features -------------------------------------------------------------------------------------


def random_features(ridge, capacities=(3, 10, 20, 30, 40, 90, 300), seeds=16):
    """A small version of bias_variance.yaml: 30 examples of 5 features."""
    tables = {}
    for capacity in capacities:
        for seed in range(seeds):
            tree = {
                "name": "t",
                "seed": seed,
                "data": {"type": "linear_teacher", "examples": 30, "features": 5, "noise": 0.3}
                | {"weight_norm": 1.0, "test_examples": 50},
                "model": [
                    {"type": "random_fourier", "units": capacity, "scale": 0.5},
                    {"type": "dense", "units": 1, "use_bias": False},
                ],
                "loss": "squared_error",
                "solver": {"type": "least_squares", "ridge": ridge},
                "record": {"every": {"epochs": 1}, "predictions": True},
            }
            (chunk,) = fit(build_experiment(check_tree(Document(tree, {}, {}, "test"))))
            tables[capacity, seed] = pandas.DataFrame(chunk.tables["predictions"])
    return sweep_of(tables)


def test_the_variance_peaks_at_the_number_of_examples():
    numbers = detect(random_features(ridge=0.0), UNITS)
    assert numbers.variance_peaks_sharply
    assert numbers.variance_peak_capacity == 30
    assert numbers.bias_falls
    assert numbers.decomposition_error < 1e-9


def test_with_a_penalty_it_does_not():
    numbers = detect(random_features(ridge=0.3), UNITS)
    assert not numbers.variance_peaks_sharply
    assert numbers.variance_peak < 1.0
    assert numbers.bias_falls


# --- the component ---------------------------------------------------------------------------------------


def test_it_is_seen_across_a_sweep_of_its_capacity():
    built = build("phenomenon", {"type": "bias_variance", "capacity": UNITS})
    assert (type(built), built.axis, built.name) == (SweepPhenomenon, UNITS, "bias_variance")
    sweep = constructed(**PEAKED)
    assert tuple(built.summarize(sweep)) == built.fields
    assert list(built.figures) == ["bias_variance"]
    (ax,) = built.figures["bias_variance"]([sweep]).axes
    assert "variance peaks with 25 at units of layer 1 = 10" in title_of(ax)
    assert ax.get_xlabel() == "units of layer 1 (log scale)"
    assert ax.get_ylabel()
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    curve = decompose(sweep, UNITS)
    for line, column in zip(ax.get_lines(), ("bias_squared", "variance", "risk"), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), curve[column])


def test_two_sweeps_are_two_panels_and_a_flat_one_says_so():
    flat = constructed(PEAKED["bias"], dict.fromkeys(PEAKED["spread"], 0.5))
    figure = bias_variance.decomposition_by_capacity([constructed(**PEAKED), flat], UNITS)
    assert len(figure.axes) == 2
    assert "no sharp peak" in title_of(figure.axes[1])
