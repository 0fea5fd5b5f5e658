"""Points between two runs: the ends are what the runs came to, the others what NumPy makes of the weights."""

import numpy as np
import pytest

import nnlab
from nnlab.errors import UsageError

TREE = {
    "name": "end",
    "data": {
        "type": "wine",
        "normalize": "standardize",
        "split": {"test": 0.3, "validation": 0.1, "seed": 0},
    },
    "model": {"type": "mlp", "width": 8, "depth": 2, "activation": "relu", "outputs": 3},
    "optimizer": {"type": "sgd", "momentum": 0.9, "learning_rate": 0.05},
    "train": {"steps": 12},
    "record": {"every": {"steps": 2}, "layers": False},
}
NORMED = [{"type": "dense", "units": 6}, "batch_norm", "relu", {"type": "dense", "units": 3}]
CASES = {
    "plain": {},
    "metrics": {"metrics": ["f1"]},
    "running averages": {"model": NORMED},
    "averaged weights": {
        "optimizer": {"type": "moving_average", "decay": 0.9, "optimizer": TREE["optimizer"]},
    },
    "best weights": {
        "train": {"steps": 12, "stop": [{"type": "early_stopping", "patience": 50}]},
        "optimizer": {"type": "sgd", "learning_rate": 1.5},
    },
    "frozen layers computed once": {
        "train": {"steps": 12, "cache_frozen": True},
        "optimizer": {**TREE["optimizer"], "groups": [{"layers": "dense_1", "frozen": True}]},
    },
    "weighted classes": {"loss": {"type": "cross_entropy", "class_weights": "balanced"}},
    "a regression": {
        "data": {"type": "diabetes", "normalize": "standardize"},
        "model": {"type": "mlp", "width": 8, "depth": 2, "activation": "relu", "outputs": 1},
        "loss": "squared_error",
    },
}


def runs(tmp_path, *changes, **keys):
    return [
        nnlab.train(nnlab.experiment(TREE | keys | change), tmp_path / str(number), plots=False)
        for number, change in enumerate(changes)
    ]


@pytest.mark.parametrize("name", CASES)
def test_at_the_ends_it_is_what_the_runs_came_to(name, tmp_path):
    changes = [{"seed": 0}, {"seed": 1}]
    if "data" in CASES[name]:
        changes = [{"optimizer": {"type": "sgd", "learning_rate": rate}} for rate in (1e-5, 2e-5)]
    ends = runs(tmp_path, *changes, **CASES[name])
    table = nnlab.interpolate(*ends, points=3)
    assert table["share"].tolist() == [0.0, 0.5, 1.0]
    measured = [column for column in table if column != "share"]
    assert measured == [column for column in ends[0].metrics if column in measured], "in the same order"
    assert "test_loss" in measured
    for run, row in zip(ends, (0, 2), strict=True):
        for column in measured:
            assert table[column][row] == pytest.approx(run.summary["selected"][column], rel=1e-6, abs=1e-7)


def test_in_between_it_is_what_numpy_makes_of_the_weights(tmp_path):
    ends = runs(tmp_path, {"seed": 0}, {"seed": 1})
    table = nnlab.interpolate(*ends, points=5)
    inputs, labels = examples(ends[0])
    for share, loss, accuracy in zip(table["share"], table["test_loss"], table["test_accuracy"], strict=True):
        weights = [run.weights() for run in ends]
        w = {name: (1 - share) * a.astype(float) + share * weights[1][name] for name, a in weights[0].items()}
        x = inputs.astype(float)
        for layer in (1, 2, 3):
            x = x @ w[f"dense_{layer}/kernel"] + w[f"dense_{layer}/bias"]
            x = np.maximum(x, 0) if layer < 3 else x
        log_p = x - np.log(np.exp(x).sum(1, keepdims=True))
        assert loss == pytest.approx(-log_p[np.arange(len(labels)), labels].mean(), rel=1e-5)
        assert accuracy == pytest.approx((x.argmax(1) == labels).mean())


def examples(run):
    """The scaled test examples of a run."""
    data = run.config.build().data.load(run.config.build().seed)
    return np.asarray(data.test.inputs), data.test.targets


def test_matched_units_leave_the_ends_and_lower_the_way(tmp_path):
    ends = runs(tmp_path, {"seed": 0}, {"seed": 1}, train={"steps": 60})
    plain, matched = (nnlab.interpolate(*ends, points=11, match=match) for match in (False, True))
    for row in (0, 10):
        np.testing.assert_allclose(matched.loc[row], plain.loc[row], rtol=1e-5, atol=1e-6)
    assert matched["train_loss"].max() < plain["train_loss"].max()


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ([{}, {"model": NORMED}], {}, r"1: has another model than .*0, and so other weights"),
        (
            [{}, {"data": TREE["data"] | {"limit": 50}}],
            {},
            r"1: has other data than .*0; give data.split.seed",
        ),
        ([{"model": NORMED}, {"model": NORMED, "seed": 1}], {"match": True}, r"and batch_norm_1 is none"),
        ([{}, {"seed": 1}], {"points": 1}, r"points: 1; a line has from 2 to 10,000"),
        ([{}, {"seed": 1}], {"points": 2.5}, r"points: 2.5; a line has .* a whole number"),
    ],
)
def test_what_has_no_line_is_refused_in_a_line(changes, arguments, message, tmp_path):
    ends = runs(tmp_path, *changes)
    with pytest.raises(UsageError, match=message) as refused:
        nnlab.interpolate(*ends, **arguments)
    assert "\n" not in str(refused.value)


def test_a_run_that_was_solved_for_has_no_line(tmp_path):
    solved = {
        "model": [{"type": "dense", "units": 3, "use_bias": False}],
        "loss": "squared_error",
        "solver": "least_squares",
        "optimizer": None,
        "train": None,
        "record": {"every": {"epochs": 1}},
    }
    ends = runs(tmp_path, {}, **solved)
    with pytest.raises(UsageError, match="was solved for; such a run keeps no weights"):
        nnlab.interpolate(ends[0], ends[0])
