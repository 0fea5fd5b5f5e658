"""Plasticity: from tables of which the answer is known, and on a net that loses it within seconds."""

import numpy as np
import pandas
import pytest
from support import FakeRun, assert_labelled, assert_told_apart, experiment_of, trained

from nnlab.errors import ConfigError, InvalidValue
from nnlab.phenomena.continual.plasticity import dead_units, detect
from nnlab.registry import build


def run_of(accuracies, dead=None, label="planted"):
    """A run with these training accuracies on each task at the end of its turn, in a turn of two records."""
    tasks = range(1, len(accuracies) + 1)
    rows = [(0, 1, "train", task, 0.1) for task in tasks]
    for current, accuracy in enumerate(accuracies, 1):
        for step, reached in ((10 * current - 5, accuracy / 2), (10 * current, accuracy)):
            rows += [(step, current, "train", task, reached if task == current else 0.9) for task in tasks]
            rows += [(step, current, "test", task, 0.7) for task in tasks]
    tables = {"tasks": pandas.DataFrame(rows, columns=["step", "current_task", "split", "task", "accuracy"])}
    if dead is not None:
        steps = [0, *(10 * task for task in tasks)]
        shares = np.linspace(0.0, dead, len(steps))
        layers = [
            (step, f"dense_{n}", n, 64, share * n / 2)
            for step, share in zip(steps, shares, strict=True)
            for n in (1, 2, 3)
        ]
        columns = ["step", "layer", "index", "fan_in", "dead_fraction"]
        tables["layers"] = pandas.DataFrame(layers, columns=columns)
    return FakeRun(tables, {}, label)


@pytest.mark.parametrize(
    ("accuracies", "verdict"),
    [
        ([1.0, 0.9, 0.5], "lost"),
        ([1.0, 0.2, 0.89], "waning"),
        ([0.95, 0.3, 0.9], "kept"),
        ([0.6, 0.99], "kept"),
    ],
)
def test_the_first_task_and_the_last(accuracies, verdict):
    found = detect(run_of(accuracies, dead=0.8))
    assert (found.first_accuracy, found.last_accuracy) == (accuracies[0], accuracies[-1])
    assert found.drop == pytest.approx(accuracies[0] - accuracies[-1])
    assert found.dead_fraction == pytest.approx(0.8), "of the last hidden layer, not the read-out"
    assert (found.verdict, found.reason) == (verdict, None)


def test_what_was_not_learnt_cannot_be_lost():
    found = detect(run_of([0.4, 0.1]))
    assert found.verdict is None
    without_layers, not_learnt = found.reason.split("; ")
    assert without_layers == "record.layers: false leaves out which units are dead"
    assert not_learnt == "of the first task 40 % is learnt: nothing to lose"


def test_without_layers_there_is_a_verdict_all_the_same():
    found = detect(run_of([1.0, 0.1]))
    assert (found.verdict, found.dead_fraction) == ("lost", None)
    assert "record.layers" in found.reason


def test_one_task_is_none_to_compare_with():
    run = run_of([1.0, 0.5])
    table = run.tables["tasks"]
    with pytest.raises(InvalidValue, match="one task at most was trained on"):
        detect(run._replace(tables={"tasks": table[table["step"] <= 10]}))
    with pytest.raises(InvalidValue, match="there is no table tasks"):
        detect(run._replace(tables={}))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"type": "wine"}, r"phenomena\[0\]: looks at one task after another; give data.tasks"),
        ({"type": "diabetes", "tasks": {"type": "permuted_inputs", "count": 2}}, "looks at accuracies"),
    ],
)
@pytest.mark.parametrize("name", ["plasticity", "forgetting"])
def test_data_without_tasks_or_classes_are_refused(name, data, message):
    tree = {"name": "t", "data": data, "model": [{"type": "dense", "units": 3}], "train": {"steps": 4}}
    if data["type"] == "diabetes":
        tree |= {"loss": "squared_error", "model": [{"type": "dense", "units": 1}]}
    with pytest.raises(ConfigError, match=message):
        experiment_of(tree | {"phenomena": [name]})


def test_the_curves_of_runs():
    draw = build("phenomenon", "plasticity").figures["plasticity"]
    lost = run_of([1.0, 0.6, 0.1], dead=1.0, label="relu")
    single = draw([lost])
    assert_labelled(single)
    assert "relu: lost, 100 % of the first task is learnt, 10 % of the last" in single.get_suptitle()
    np.testing.assert_allclose(single.axes[0].lines[0].get_ydata(), [100, 60, 10])
    np.testing.assert_allclose(single.axes[1].lines[0].get_ydata(), [100 / 3, 200 / 3, 100])
    both = draw([lost, run_of([1.0, 1.0, 0.98], label="leaky")])
    assert_told_apart(both, ["relu: lost", "leaky: kept"])


@pytest.mark.parametrize(("activation", "verdict"), [("relu", "lost"), ("leaky_relu", "kept")])
def test_relu_dies_of_many_tasks_and_leaky_relu_does_not(activation, verdict):
    """Twelve tasks at a large rate, for units that die sooner."""
    activation = {"type": "leaky_relu", "negative_slope": 0.2} if activation == "leaky_relu" else activation
    exp = experiment_of(
        {
            "name": "t",
            "data": {
                "type": "digits",
                "normalize": "standardize",
                "split": {"train": 64},
                "batch_size": "full",
                "tasks": {"type": "random_labels", "count": 12},
            },
            "model": {"type": "mlp", "width": 32, "depth": 3, "activation": activation},
            "optimizer": {"type": "sgd", "momentum": 0.9, "learning_rate": 0.1},
            "train": {"steps": 12 * 60},
            "record": {"every": {"steps": 60}},
        }
    )
    tables = {name: pandas.DataFrame(table) for name, table in trained(exp)[0].items()}
    found = detect(FakeRun(tables, {}))
    assert found.verdict == verdict
    assert (found.dead_fraction >= 0.9) == (verdict == "lost")
    assert dead_units(FakeRun(tables, {})).iloc[0] < 0.5
