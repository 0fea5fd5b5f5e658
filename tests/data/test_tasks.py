"""Sequences of tasks: which examples each has, what is stored of it, and what is refused."""

import numpy as np
import pytest
from support import experiment_of

from nnlab.data import tasks
from nnlab.errors import ConfigError
from nnlab.registry import components

WINE = {"type": "wine", "normalize": "standardize"}
CASES = {
    "by_class": {"type": "by_class", "classes": [[2], [0, 1]]},
    "random_labels": {"type": "random_labels", "count": 3},
    "permuted_inputs": {"type": "permuted_inputs", "count": 3},
}


def experiment(tasks, model="dense", **data):
    layer = {"type": model, "units": 3}
    tree = {"name": "test", "data": {**WINE, "batch_size": 16, "tasks": tasks, **data}, "model": [layer]}
    return experiment_of(tree | {"train": {"steps": 30}, "seed": data.pop("seed", 0)})


def splits_of(tasks, **data):
    return experiment(tasks, **data).data.splits


def test_every_kind_of_task_has_a_case_here():
    assert set(CASES) == set(components("task_sequence"))


@pytest.mark.parametrize("name", CASES)
def test_each_example_of_each_split_has_a_task(name):
    for part in splits_of(CASES[name]).values():
        assert part.tasks.dtype == np.int32
        assert part.tasks.shape == (len(part),) == part.rows.shape
        assert set(part.tasks) == set(range(2 if name == "by_class" else 3))


def test_a_class_is_in_the_task_that_names_it_and_examples_stay_as_they_are():
    found, plain = splits_of(CASES["by_class"]), splits_of(None)
    for split, part in found.items():
        np.testing.assert_array_equal(part.inputs, plain[split].inputs)
        np.testing.assert_array_equal(part.targets, plain[split].targets)
        np.testing.assert_array_equal(part.tasks, np.array([1, 1, 0])[part.targets])
        assert plain[split].tasks is None


def test_random_labels_are_drawn_for_each_task_anew():
    found, plain = splits_of(CASES["random_labels"]), splits_of(None)
    for split, part in found.items():
        count = len(plain[split])
        for task in range(3):
            rows = part.tasks == task
            np.testing.assert_array_equal(part.inputs[rows], plain[split].inputs)
            assert np.mean(part.targets[rows] == plain[split].targets) == pytest.approx(1 / 3, abs=0.3)
        labels = part.targets.reshape(3, count)
        assert len(np.unique(labels, axis=0)) == 3
        assert set(labels.ravel()) <= {0, 1, 2}


def test_permuted_inputs_have_the_same_features_in_one_order_a_task():
    found, plain = splits_of(CASES["permuted_inputs"]), splits_of(None)
    orders = []
    for split, part in found.items():
        first, *others = (part.take(np.flatnonzero(part.tasks == task)) for task in range(3))
        np.testing.assert_array_equal(first.inputs, plain[split].inputs)
        for other in others:
            np.testing.assert_array_equal(other.targets, plain[split].targets)
            order = [
                int(np.flatnonzero((column == first.inputs[:9].T).all(1))[0]) for column in other.inputs[:9].T
            ]
            assert sorted(order) == list(range(13)), "a permutation"
            np.testing.assert_array_equal(other.inputs, first.inputs[:, order])
            orders.append(tuple(order))
    assert len(set(orders)) == 2, "the same for all splits, and another for each task"


@pytest.mark.parametrize("name", ["random_labels", "permuted_inputs"])
def test_another_seed_draws_other_tasks(name):
    data = {**WINE, "batch_size": 16, "tasks": CASES[name], "split": {"seed": 0}}
    trees = [
        {"name": "t", "data": data, "model": [{"type": "dense", "units": 3}], "seed": seed} for seed in (0, 1)
    ]
    first, second = (experiment_of(tree | {"train": {"steps": 3}}) for tree in trees)
    assert first.data_hash != second.data_hash
    part = "targets" if name == "random_labels" else "inputs"
    values = [np.asarray(getattr(each.data.train, part)) for each in (first, second)]
    assert not np.array_equal(*values)


def test_the_hash_tells_tasks_apart():
    hashes = [
        experiment({"type": "by_class", "classes": c}).data_hash for c in ([[0], [1, 2]], [[0, 1], [2]])
    ]
    assert len({*hashes, experiment(None).data_hash}) == 3


@pytest.mark.parametrize(("replay", "stored"), [(0, 0), (5, 5), (1000, None)])
def test_stored_examples_of_each_earlier_task_are_among_those_of_a_later_one(replay, stored):
    tasks = {"type": "by_class", "classes": [[2], [0], [1]], "replay": replay}
    exp = experiment(tasks, batch_size=8)
    train = exp.data.train
    pools = exp.plan.data.tasks.rows(train, 0)
    kept = []
    for task, rows in enumerate(pools):
        assert len(set(rows)) == len(rows)
        own = [row for row in rows if train.tasks[row] == task]
        assert own == np.flatnonzero(train.tasks == task).tolist()
        for earlier in range(task):
            found = {row for row in rows if train.tasks[row] == earlier}
            assert len(found) == (stored if stored is not None else (train.tasks == earlier).sum())
            kept.append((earlier, frozenset(found)))
        assert not any(train.tasks[row] > task for row in rows)
    assert len(set(kept)) == len({earlier for earlier, _ in kept}), "the same ones in every later task"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"tasks": {"type": "by_class", "classes": [[0, 1, 2]]}}, "data.tasks.classes: is no sequence"),
        (
            {"tasks": {"type": "by_class", "classes": [[0, 1], [1, 2]]}},
            r"classes\[1\]\[0\]: names class 1.* twice",
        ),
        (
            {"tasks": {"type": "by_class", "classes": [[0], [1]]}},
            "classes: class 2.* is in no task; put it into one",
        ),
        (
            {"tasks": {"type": "by_class", "classes": [[0, 3], [1, 2]]}},
            r"classes\[0\]\[1\]: there is no class 3",
        ),
        ({"tasks": {"type": "by_class", "classes": [[0, 1], [], [2]]}}, "no train example is of task 2"),
        ({"tasks": {"type": "random_labels", "count": 1}}, "data.tasks.count: .*2"),
        ({"tasks": {"type": "random_labels", "counts": 3}}, "did you mean 'count'"),
        ({"tasks": {"type": "random_labels", "count": 3, "replay": -1}}, "data.tasks.replay: .*0"),
        ({"tasks": "by_clas"}, "did you mean 'by_class'"),
        ({"tasks": CASES["by_class"], "batch_size": "full"}, "data.batch_size: full batches are of one size"),
        ({"tasks": CASES["random_labels"], "reconstruct": True}, "data.tasks: needs class labels"),
        ({"tasks": CASES["by_class"], "type": "diabetes"}, "data.tasks: needs class labels"),
        (
            {"tasks": CASES["random_labels"], "type": "xor", "fresh": True, "normalize": None},
            "data.tasks: is of examples that are there",
        ),
    ],
)
def test_what_makes_no_tasks_is_refused_in_a_line(data, message):
    with pytest.raises(ConfigError, match=message) as refused:
        experiment(**data)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["random_labels", "permuted_inputs"])
def test_copies_that_are_too_large_for_memory_are_refused_in_a_line(name, monkeypatch):
    """An example has 13 features, a label and the number of its row; it is there twice on the way."""
    monkeypatch.setattr(tasks, "available_bytes", lambda: 2 * 3 * 125 * (13 * 4 + 4 + 8) - 1)
    with pytest.raises(
        ConfigError, match=r"data\.tasks\.count: 3 times 125 examples take .* too much"
    ) as told:
        experiment(CASES[name])
    assert len(str(told.value).splitlines()) == 1
    monkeypatch.setattr(tasks, "available_bytes", lambda: 2 * 3 * 125 * (13 * 4 + 4 + 8))
    experiment(CASES[name])


def test_a_solver_has_no_steps_to_divide():
    tree = {"name": "test", "data": {**WINE, "tasks": CASES["by_class"]}, "solver": "least_squares"}
    model = [{"type": "dense", "units": 3, "use_bias": False}]
    with pytest.raises(ConfigError, match=r"data\.tasks: a solver takes no steps"):
        experiment_of(tree | {"model": model, "loss": "squared_error"})
