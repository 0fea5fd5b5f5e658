"""Superposition: planted weights, verdicts given and refused, what is recorded against NumPy."""

import numpy as np
import pandas
import pytest
from support import (
    KEY,
    FakeRun,
    FakeSweep,
    assert_labelled,
    assert_readable,
    experiment_of,
    load,
    title_of,
    trained,
)

from nnlab import plotting
from nnlab.errors import InvalidValue, NnlabError
from nnlab.phenomena.inspection import superposition as held
from nnlab.phenomena.inspection import superposition_by_density as swept

PAIRS = np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [0, 0]], float)
ALONE = np.array([[1, 0], [0, 1], [0.1, 0], [0, 0.2], [0, 0]], float)
PENTAGON = np.array([[np.cos(a), np.sin(a)] for a in 2 * np.pi * np.arange(5) / 5])


@pytest.mark.parametrize(
    ("weights", "features", "share", "interference", "verdict"),
    [
        (PAIRS, 4, 0.5, 1.0, "superposition"),
        (ALONE, 2, 2 / 2.05, 0.025, "none"),  # (0.1^2 + 0.2^2) / 2
        (PENTAGON, 5, 0.4, 1.5, "superposition"),  # 5 / 2 - 1
        (0.4 * PAIRS, 0, 2 / 0.64, None, None),
        (0 * PAIRS, 0, None, None, None),
    ],
)
def test_the_numbers_of_planted_weights(weights, features, share, interference, verdict):
    found = held.detect(weights)
    assert (found.features, found.dimensions, found.verdict) == (features, 2, verdict)
    assert found.dimensions_per_feature == (share and pytest.approx(share))
    assert found.interference == (interference and pytest.approx(interference))
    assert (verdict is None) == (found.reason == "no feature is represented")


def tree(**keys):
    return {
        "name": "test",
        "data": {"type": "sparse_features", "examples": 40, "features": 6, "batch_size": 10},
        "model": [{"type": "tied_dense", "units": 2}, "relu"],
        "loss": {"type": "importance_weighted_error", "decay": 0.8},
        "train": {"epochs": 1},
        "record": {"every": {"epochs": 1}, "layers": False},
        "phenomena": ["superposition"],
    } | keys


def test_the_weights_at_the_end_are_recorded():
    exp = experiment_of(tree())
    tables, chunks = trained(exp)
    kernel = np.asarray(chunks[-1].state().params["tied_dense_1"]["kernel"], float)
    table = pandas.DataFrame(tables["feature_weights"]).infer_objects()
    np.testing.assert_allclose(held.weights_of(table), kernel, rtol=1e-6)
    found = held.detect(held.weights_of(table))
    assert found.dimensions_per_feature == pytest.approx(2 / np.sum(kernel**2), rel=1e-6)
    assert found.features == sum(np.sqrt(sum(w**2 for w in row)) > 0.5 for row in kernel)


def test_the_layer_goes_back_with_its_own_weights():
    exp = experiment_of(tree())
    params, state = exp.model.init(0)
    x = exp.data.test.inputs[:7]
    params["tied_dense_1"]["bias"] += np.arange(6, dtype=np.float32) / 10
    output = exp.model.apply(params, state, x, key=KEY, train=False).value
    kernel, bias = (np.asarray(params["tied_dense_1"][name], float) for name in ("kernel", "bias"))
    np.testing.assert_allclose(output, np.maximum(x @ kernel @ kernel.T + bias, 0), rtol=1e-5, atol=1e-6)


def test_other_models_are_refused():
    with pytest.raises(NnlabError, match="needs a tied_dense layer before all others"):
        experiment_of(tree(model=[{"type": "dense", "units": 6}]))
    with pytest.raises(NnlabError, match="here dense_1 is the first"):  # which mixes the features
        experiment_of(tree(model=[{"type": "dense", "units": 6}, {"type": "tied_dense", "units": 2}]))


def test_features_are_as_sparse_as_they_are_to_be():
    data = load({"type": "sparse_features", "examples": 5000, "features": 8, "density": 0.2})
    x = data.train.inputs
    np.testing.assert_array_equal(x, data.train.targets)
    there = x > 0
    assert there.mean() == pytest.approx(0.2, abs=0.01)
    assert x[there].mean() == pytest.approx(0.5, abs=0.02)
    assert np.abs(np.corrcoef(there.T) - np.eye(8)).max() < 0.07
    assert (load({"type": "sparse_features", "density": 1.0}).train.inputs > 0).mean() > 0.999


# --- over a sweep ----------------------------------------------------------------------------------------

AXIS = "data.density"


def sweep_of(points, dimensions=5):
    """density -> (features of three seeds, D* of all)."""
    rows = [
        {"trial": f"{density}-{seed}", AXIS: density, "seed": seed, "status": "complete"}
        | {"superposition.features": count, "superposition.dimensions": dimensions}
        | {"superposition.dimensions_per_feature": share}
        for density, (features, share) in points.items()
        for seed, count in enumerate(features)
    ]
    table = pandas.DataFrame(rows)
    weights = pandas.DataFrame({"feature": [0, 0, 1, 1, 2, 2], "dimension": [0, 1] * 3})
    weights["weight"] = [1.0, 0, -1, 0, 0, 1]
    joined = pandas.concat([weights.assign(trial=trial) for trial in table["trial"]])
    return FakeSweep(table, {"feature_weights": joined}, [AXIS])


GROWING = {1.0: ([5, 5, 5], 1.0), 0.3: ([10, 11, 10], 0.49), 0.05: ([16, 15, 15], 0.3)}


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "superposition"),
        ({0.05: ([14, 14, 20], 0.3)}, "some"),  # the median is not three times five
        ({1.0: ([6, 6, 5], 0.9)}, "some"),  # shared at the highest density, too
        ({0.3: ([5, 5, 9], 1.0), 0.05: ([5, 4, 5], 1.0)}, "none"),
    ],
)
def test_each_verdict_is_given_and_refused(changes, verdict):
    assert swept.detect(swept.medians(sweep_of(GROWING | changes), AXIS)).verdict == verdict


def test_numbers_over_the_density():
    found = swept.detect(swept.medians(sweep_of(GROWING), AXIS))
    assert (found.dimensions, found.features_at_densest, found.features_at_sparsest) == (5, 5, 15)
    assert found.features_per_dimension == 3
    assert found.distance_to_half == pytest.approx(0.01)
    assert found.least_dimensions_per_feature == pytest.approx(0.3)


def test_a_curve_needs_points_of_one_width():
    with pytest.raises(InvalidValue, match="three points"):
        swept.medians(sweep_of({1.0: ([5], 1.0), 0.3: ([10], 0.5)}), AXIS)
    sweep = sweep_of(GROWING)
    sweep.completed_trials.loc[0, "superposition.dimensions"] = 9
    sweep.completed_trials.loc[1, "superposition.dimensions"] = 9
    with pytest.raises(InvalidValue, match="width of the bottleneck"):
        swept.medians(sweep, AXIS)


def test_figures_say_how_many_features():
    weights = pandas.DataFrame(
        [{"step": 9, "feature": i, "dimension": j, "weight": w} for (i, j), w in np.ndenumerate(PAIRS)]
    )
    with plotting.style():
        figures = [
            held.overlaps_of_features([FakeRun({"feature_weights": weights}, {})]),
            swept.features_by_density([sweep_of(GROWING)], AXIS),
            swept.overlaps_by_density([sweep_of(GROWING)], AXIS),
        ]
        for figure in figures:
            assert_readable(figure)
    for figure in figures:
        assert_labelled(figure)
    assert title_of(figures[0].axes[0]) == "run: 4 features in 2 dimensions"
    assert figures[1].get_suptitle() == "sweep: 5 to 15 features in 5 dimensions"
    assert title_of(figures[2].axes[0]) == "density 1: 3 features"
