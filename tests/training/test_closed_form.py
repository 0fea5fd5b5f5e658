"""Solvers against NumPy and scikit-learn; closed-form studies against their parts computed by hand."""

import json
import subprocess
import sys

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from nnlab.config import check_tree
from nnlab.config.document import Document
from nnlab.errors import ConfigError
from nnlab.optim.solvers import least_squares
from nnlab.training import closed_form
from nnlab.training.closed_form import fit
from nnlab.training.experiment import build_experiment

SHAPES = {"tall": (30, 7), "wide": (7, 30), "square": (12, 12)}


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def with_singular_values(rows, columns, values):
    """A matrix with just these singular values, and its factors U `[N, R]` and V `[P, R]`."""
    u = np.linalg.qr(drawn(rows, len(values), seed=1))[0]
    v = np.linalg.qr(drawn(columns, len(values), seed=2))[0]
    return u @ np.diag(values) @ v.T, u, v


# --- least squares ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_solution_is_that_of_smallest_norm(shape):
    x, y = drawn(*shape), drawn(shape[0], 3, seed=1)
    found = least_squares().solve(x, y)
    np.testing.assert_allclose(found.kernel, np.linalg.lstsq(x, y)[0], rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(found.kernel, np.linalg.pinv(x) @ y, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(found.singular_values, np.linalg.svd(x, compute_uv=False))
    assert found.kernel.dtype == np.float64


def test_directions_that_are_only_rounding_are_left_out():
    x = drawn(10, 4)
    twice = np.concatenate([x, x], axis=1)  # of rank 4
    y = drawn(10, 1, seed=1)
    once, both = least_squares().solve(x, y).kernel, least_squares().solve(twice, y).kernel
    np.testing.assert_allclose(both, np.concatenate([once, once]) / 2, rtol=1e-9)
    np.testing.assert_array_equal(
        least_squares().solve(np.zeros((5, 3)), drawn(5, 2)).kernel, np.zeros((3, 2))
    )


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("ridge", [1e-3, 0.5, 100.0])
def test_ridge_penalizes_the_sum_of_squares(shape, ridge):
    x, y = drawn(*shape), drawn(shape[0], 2, seed=1)
    found = least_squares(ridge=ridge).solve(x, y).kernel
    normal = np.linalg.solve(x.T @ x + ridge * np.eye(shape[1]), x.T @ y)
    np.testing.assert_allclose(found, normal, rtol=1e-7, atol=1e-9)
    theirs = Ridge(alpha=ridge, fit_intercept=False, solver="cholesky").fit(x, y).coef_.T
    np.testing.assert_allclose(found, theirs, rtol=1e-7, atol=1e-9)


def test_singular_values_below_the_cutoff_are_left_out():
    x, u, v = with_singular_values(8, 6, [5.0, 2.0, 1.0, 0.5, 0.01])
    y = drawn(8, 2)
    by_hand = sum(np.outer(v[:, i], u[:, i] @ y) / s for i, s in enumerate([5.0, 2.0, 1.0]))
    found = least_squares(singular_value_cutoff=0.9).solve(x, y)
    np.testing.assert_allclose(found.kernel, by_hand, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.singular_values[:5], [5.0, 2.0, 1.0, 0.5, 0.01])
    nothing = least_squares(singular_value_cutoff=6.0).solve(x, y)
    np.testing.assert_array_equal(nothing.kernel, np.zeros((6, 2)))


def test_ridge_and_cutoff_together():
    x, u, v = with_singular_values(8, 6, [4.0, 2.0, 0.1])
    y = drawn(8, 1)
    by_hand = sum(np.outer(v[:, i], u[:, i] @ y) * s / (s**2 + 0.3) for i, s in enumerate([4.0, 2.0]))
    found = least_squares(ridge=0.3, singular_value_cutoff=1.0).solve(x, y).kernel
    np.testing.assert_allclose(found, by_hand, rtol=1e-9, atol=1e-12)


def test_test_features_are_projected_onto_the_leading_directions_of_training():
    x, _, v = with_singular_values(8, 6, [4.0, 2.0, 1.0, 0.5])
    others = drawn(5, 6, seed=3)
    found = least_squares(test_modes=2).solve(x, drawn(8, 1))
    leading = v[:, :2]
    np.testing.assert_allclose(found.project(others), others @ leading @ leading.T, atol=1e-12)
    np.testing.assert_allclose(found.kernel, least_squares().solve(x, drawn(8, 1)).kernel)
    assert least_squares().solve(x, drawn(8, 1)).project(others) is others
    few = least_squares(test_modes=50).solve(x[:3], drawn(3, 1))  # no more directions than examples
    assert np.linalg.matrix_rank(few.project(others)) == 3


def test_features_that_are_no_numbers_have_no_solution():
    x = drawn(4, 3)
    x[1, 1] = np.inf
    found = least_squares().solve(x, drawn(4, 2))
    assert found.kernel.shape == (3, 2)
    assert np.isnan(found.kernel).all()


# --- a study ---------------------------------------------------------------------------------------------

LINEAR = {
    "name": "linear",
    "data": {"type": "linear_teacher", "examples": 25, "features": 8, "noise": 0.5, "test_examples": 40},
    "model": {"type": "dense", "units": 1, "use_bias": False},
    "loss": "squared_error",
    "solver": "least_squares",
}
READ_OUT = {"type": "dense", "units": 1, "use_bias": False}


def experiment_of(**changes):
    return build_experiment(check_tree(Document(LINEAR | changes, {}, {}, "test")))


def fitted(**changes):
    experiment = experiment_of(**changes)
    (chunk,) = fit(experiment)
    return experiment, chunk


def test_linear_regression_is_linear_regression():
    experiment, chunk = fitted()
    train, test = experiment.data.train, experiment.data.test
    x, y = train.inputs.astype(float), train.targets.astype(float)
    w = np.linalg.lstsq(x, y)[0]
    found = {name: column[0] for name, column in chunk.tables["metrics"].items()}
    assert found.pop("step") == found.pop("epoch") == 0
    expected = {
        "train_loss": np.mean((x @ w - y) ** 2),
        "test_loss": np.mean((test.inputs.astype(float) @ w - test.targets) ** 2),
        "weight_norm": np.linalg.norm(w),
        "smallest_singular_value": np.linalg.svd(x, compute_uv=False)[-1],
    }
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, rel=1e-9)
    assert all(
        len(c) == 1 and c.dtype == np.float64 for k, c in chunk.tables["metrics"].items() if k != "step"
    )
    assert (chunk.step, chunk.finite, chunk.compiling) == (0, True, 0.0)
    assert list(chunk.tables) == ["metrics"]


def test_an_exact_fit_is_exact_and_its_test_loss_may_be_huge():
    data = LINEAR["data"] | {"examples": 8, "seen": 8, "features": 9}
    losses = [fitted(data=data, seed=seed)[1].tables["metrics"] for seed in range(5)]
    assert max(table["train_loss"][0] for table in losses) < 1e-20
    polynomial = [{"type": "legendre", "degree": 15}, READ_OUT]
    _, wild = fitted(data={"type": "wave"}, model=polynomial)
    assert wild.tables["metrics"]["train_loss"][0] < 1e-12
    assert wild.tables["metrics"]["test_loss"][0] > 1e4


def test_several_outputs_are_averaged_or_summed():
    losses = {}
    for outputs in ("mean", "sum"):
        loss = {"type": "squared_error", "outputs": outputs}
        model = {"type": "dense", "units": 3, "use_bias": False}
        experiment, chunk = fitted(data="wine", model=model, loss=loss)
        losses[outputs] = chunk.tables["metrics"]
    x = experiment.data.train.inputs.astype(float)
    one_hot = np.eye(3)[experiment.data.train.targets]
    found = x @ np.linalg.lstsq(x, one_hot)[0]
    assert losses["mean"]["train_loss"] == pytest.approx(np.mean((found - one_hot) ** 2))
    for split in ("train", "validation", "test"):
        assert losses["sum"][f"{split}_loss"] == pytest.approx(3 * losses["mean"][f"{split}_loss"])
        accuracy = losses["mean"][f"{split}_accuracy"]
        assert accuracy == losses["sum"][f"{split}_accuracy"]
        assert 0.5 < accuracy[0] <= 1.0
    right = (found.argmax(1) == experiment.data.train.targets).mean()
    assert losses["mean"]["train_accuracy"][0] == right


def test_predictions_are_those_of_the_loss():
    record = {"every": {"epochs": 1}, "predictions": True}
    solver = {"type": "least_squares", "test_modes": 3}
    _, chunk = fitted(record=record, solver=solver)
    table, metrics = chunk.tables["predictions"], chunk.tables["metrics"]
    for split, count in (("train", 25), ("test", 40)):
        rows = table["split"] == split
        assert table["example"][rows].tolist() == list(range(count))
        loss = np.mean((table["prediction"][rows] - table["target"][rows]) ** 2)
        assert loss == pytest.approx(metrics[f"{split}_loss"][0], rel=1e-9)
    plain = fitted()[1].tables["metrics"]
    assert plain["train_loss"] == metrics["train_loss"]
    assert plain["test_loss"] != metrics["test_loss"]


def test_projection_spares_the_training_loss_alone():
    data = {"type": "diabetes", "split": {"train": 0.6, "validation": 0.2, "test": 0.2}}
    whole = fitted(data=data)[1].tables["metrics"]
    cut = fitted(data=data, solver={"type": "least_squares", "test_modes": 1})[1].tables["metrics"]
    assert whole["train_loss"] == cut["train_loss"]
    assert whole["validation_loss"] != cut["validation_loss"]
    assert whole["test_loss"] != cut["test_loss"]


# --- features --------------------------------------------------------------------------------------------


def test_random_relu_features_are_those_of_the_first_weights():
    closed_form._feature_map.cache_clear()
    model = [{"type": "dense", "units": 60, "bias_init": "normal"}, "relu", "batch_norm", READ_OUT]
    for seed in (0, 1):
        experiment, chunk = fitted(model=model, seed=seed)
        params, _ = experiment.model.init(seed)
        kernel, bias = (params["dense_1"][name].astype(float) for name in ("kernel", "bias"))

        def features(examples, kernel=kernel, bias=bias):
            return np.maximum(examples.inputs.astype(float) @ kernel + bias, 0) / np.sqrt(1 + 1e-3)

        train, test = experiment.data.train, experiment.data.test
        w = np.linalg.lstsq(features(train), train.targets.astype(float))[0]
        found = chunk.tables["metrics"]
        expected = np.mean((features(test) @ w - test.targets) ** 2)
        assert found["test_loss"][0] == pytest.approx(expected, rel=1e-8)
        assert found["train_loss"][0] < 1e-24, "features in float32 would not fit so well"
        assert found["weight_norm"][0] == pytest.approx(np.linalg.norm(w), rel=1e-8)
    assert closed_form._feature_map.cache_info().misses == 1, "a second seed compiles nothing"


def test_features_in_blocks_and_without_weights():
    block = {"type": "residual", "layers": [{"type": "dense", "units": 8}, "tanh"]}
    for model in ([block, READ_OUT], ["tanh", READ_OUT], [["flatten", block], [READ_OUT]]):
        experiment, chunk = fitted(model=model)
        assert chunk.finite
        assert experiment.model.setup.output_shape == (1,)
    x = fitted(model=["tanh", READ_OUT])[0].data.train
    w = np.linalg.lstsq(np.tanh(x.inputs.astype(float)), x.targets.astype(float))[0]
    weight_norm = fitted(model=["tanh", READ_OUT])[1].tables["metrics"]["weight_norm"][0]
    assert weight_norm == pytest.approx(np.linalg.norm(w), rel=1e-9)


def test_features_that_overflow_are_a_divergence():
    data = {"type": "linear_teacher", "features": 1, "examples": 20}
    with np.errstate(over="ignore", invalid="ignore"):
        _, chunk = fitted(data=data, model=[{"type": "legendre", "degree": 3000}, READ_OUT])
    assert not chunk.finite


@pytest.mark.parametrize(
    "model",
    [
        READ_OUT,
        [{"type": "random_fourier", "units": 30}, READ_OUT],
        [{"type": "random_fourier", "units": 1}, {"type": "legendre", "degree": 3}, READ_OUT],
    ],
)
def test_jax_stays_out_of_it(model):
    """Linear, polynomial and random Fourier regression are NumPy's."""
    code = (
        "import json, sys\n"
        "from nnlab.training.closed_form import fit\n"
        "from nnlab.config import check_tree\n"
        "from nnlab.config.document import Document\n"
        "from nnlab.training.experiment import build_experiment\n"
        "config = check_tree(Document(json.loads(sys.argv[1]), {}, {}, 'test'))\n"
        "(chunk,) = fit(build_experiment(config))\n"
        "print(repr(float(chunk.tables['metrics']['test_loss'][0])), 'jax' in sys.modules)\n"
    )
    tree = json.dumps(LINEAR | {"model": model})
    words = [sys.executable, "-c", code, tree]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    loss, has_jax = done.stdout.split()
    assert has_jax == "False"
    assert float(loss) == fitted(model=model)[1].tables["metrics"]["test_loss"][0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"type": "dense", "units": 1}}, "use_bias: false"),
        ({"model": [READ_OUT, "tanh"]}, "last"),
        ({"data": "wine", "loss": "cross_entropy", "model": READ_OUT | {"units": 3}}, "squared_error"),
    ],
)
def test_what_a_solver_cannot_do_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        experiment_of(**changes)


# --- double descent --------------------------------------------------------------------------------------


def test_polynomials_of_as_many_terms_as_points_are_worst():
    """ATLAS §2, Polynomial: the median peaks at degree 15 and falls below the classical minimum beyond."""
    medians = {}
    for degree in (1, 5, 13, 14, 15, 16, 17, 30):
        model = [{"type": "legendre", "degree": degree}, READ_OUT]
        runs = [fitted(data={"type": "wave"}, model=model, seed=seed)[1] for seed in range(12)]
        medians[degree] = np.median([run.tables["metrics"]["test_loss"][0] for run in runs])
    assert max(medians, key=medians.get) in (14, 15, 16)
    assert max(medians.values()) > 1e3 * medians[1]
    assert medians[30] < medians[1] < medians[5]
