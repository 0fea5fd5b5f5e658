"""A sequence of tasks in one training: whose examples a step has, and what is recorded of each task, against
NumPy."""

import copy
from collections import OrderedDict

import jax
import numpy as np
import pytest
from support import assert_same, experiment_of, tables_of, trained

import nnlab
from nnlab.config.load import hashed_tree
from nnlab.data import file_rows
from nnlab.errors import ConfigError
from nnlab.training import batches, compilation, segments, streamed_blocks
from nnlab.training.batches import BatchOrder
from nnlab.training.loop import train, train_together
from nnlab.training.state import ResumePoint, array_groups

BY_CLASS = {"type": "by_class", "classes": [[2], [0, 1]], "replay": 3}
LABELS = {"type": "random_labels", "count": 4}
WINE = {"type": "wine", "normalize": "standardize", "batch_size": 8}


def experiment(tasks=BY_CLASS, steps=20, every=3, **keys):
    data = {**WINE, "tasks": tasks, **keys.pop("data", {})}
    tree = {
        "name": "test",
        "data": data,
        "model": [{"type": "dense", "units": 3}],
        "optimizer": {"type": "sgd", "momentum": 0.9, "learning_rate": 0.1},
        "train": {"steps": steps},
        "record": {"every": {"steps": every}},
    }
    return experiment_of({**tree, **keys})


# --- the order of examples -------------------------------------------------------------------------------


@pytest.mark.parametrize("replay", [0, 3])
def test_a_step_has_examples_of_its_task_and_stored_ones_of_earlier_ones(replay):
    exp = experiment({"type": "by_class", "classes": [[2], [1], [0]], "replay": replay}, steps=50)
    assert exp.task_starts == [0, 16, 33]
    rows, tasks = BatchOrder(exp).rows(0, 51), exp.data.train.tasks
    seen = [set(rows[begin:end].ravel()) for begin, end in ((0, 16), (16, 33), (33, 51))]
    for task, examples in enumerate(seen):
        assert set(tasks[list(examples)]) == (set(range(task + 1)) if replay else {task})
        assert len(examples) == (tasks == task).sum() + task * replay, "all of them have their turn"
    assert all(len(set(row)) == 8 for row in rows)


def test_each_task_begins_an_epoch_of_its_own():
    exp = experiment(steps=40)
    order = BatchOrder(exp)
    for task, begin in enumerate(exp.task_starts):
        pool = order.pools[task]
        per_epoch = len(pool) // 8
        first, second = (order.rows(begin + e * per_epoch, per_epoch).ravel() for e in range(2))
        assert len(set(first)) == len(first) == per_epoch * 8
        assert set(first) <= set(pool)
        assert not np.array_equal(first, second)


@pytest.mark.parametrize("data", [{}, {"batch_size": "full"}])
def test_order_is_the_same_wherever_one_asks_for_it(data):
    order = BatchOrder(experiment(LABELS, steps=41, data=data))
    whole = order.rows(0, 42)
    for start, count in ((0, 1), (5, 3), (9, 2), (10, 1), (8, 30), (39, 3), (41, 1)):
        np.testing.assert_array_equal(order.rows(start, count), whole[start : start + count])


def test_a_full_batch_is_a_task():
    exp = experiment(LABELS, data={"batch_size": "full"})
    assert exp.batch_size * 4 == len(exp.data.train)
    for start, row in zip(exp.task_starts, BatchOrder(exp).rows(0, 20)[exp.task_starts], strict=True):
        task = exp.data.train.tasks[row]
        assert set(task) == {start // 5}
        assert len(set(row)) == exp.batch_size


def test_a_batch_is_no_larger_than_a_task():
    exp = experiment(data={"batch_size": 500})
    assert exp.batch_size == min((exp.data.train.tasks == task).sum() for task in range(2))


def test_the_order_branches_off_in_a_task_too():
    plain, twin = (
        BatchOrder(experiment(LABELS, data={"order": order})) for order in (None, {"from_step": 7, "seed": 1})
    )
    first, second = plain.rows(0, 20), twin.rows(0, 20)
    np.testing.assert_array_equal(first[:7], second[:7])
    for begin, end in ((7, 10), (10, 15)):
        assert not np.array_equal(first[begin:end], second[begin:end])
        assert set(np.unique(plain.pools[begin // 5])) >= set(second[begin:end].ravel())


# --- records ---------------------------------------------------------------------------------------------


def test_the_last_step_of_each_task_is_recorded():
    assert experiment(LABELS, steps=20, every=8).record_steps == [0, 5, 8, 10, 15, 16, 20]
    assert experiment(LABELS, steps=2, every=1).record_steps == [0, 1, 2], "fewer steps than tasks"


def test_tasks_without_a_step_are_told():
    (note,) = experiment(LABELS, steps=3, every=1).notes
    assert note == "data.tasks: 4 tasks, of which some have no step in a training of 3"
    assert not experiment(LABELS, steps=4, every=1).notes


def losses_of(kernel, bias, part):
    logits = part.inputs.astype(np.float64) @ kernel + bias
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return log_p, -log_p[np.arange(len(part)), part.targets], logits.argmax(1) == part.targets


def numpy_rows(exp, weights=None):
    """Softmax regression by SGD with momentum, in float64: rows of tasks.csv, and of metrics.csv."""
    params, _ = exp.model.init(exp.plan.seed)
    kernel, bias = (np.asarray(params["dense_1"][name], np.float64) for name in ("kernel", "bias"))
    velocity, rows, whole = [0.0, 0.0], [], []
    order = BatchOrder(exp).rows(0, exp.total_steps + 1)
    current = np.repeat(np.arange(1, len(exp.task_starts) + 1), np.diff([*exp.task_starts, exp.total_steps]))
    weights = np.ones(3) if weights is None else weights / weights[exp.data.train.targets].mean()
    for step in range(exp.total_steps + 1):
        if step in exp.record_steps:
            for split, part in exp.data.splits.items():
                _, losses, right = losses_of(kernel, bias, part)
                share = weights[part.targets]
                whole.append((np.average(losses, weights=share), right.mean()))
                for task in range(len(exp.task_starts)):
                    of = part.tasks == task
                    loss = np.average(losses[of], weights=share[of])
                    rows.append((step, current[max(0, step - 1)], split, task + 1, loss, right[of].mean()))
        batch = exp.data.train.take(order[step])
        log_p, _, _ = losses_of(kernel, bias, batch)
        error = (np.exp(log_p) - np.eye(3)[batch.targets]) * weights[batch.targets][:, None] / len(batch)
        velocity = [
            0.9 * v + g for v, g in zip(velocity, (batch.inputs.T @ error, error.sum(0)), strict=True)
        ]
        kernel, bias = kernel - 0.1 * velocity[0], bias - 0.1 * velocity[1]
    return list(zip(*rows, strict=True)), whole


@pytest.mark.parametrize("tasks", [BY_CLASS, LABELS])
@pytest.mark.parametrize("class_weights", [None, [1.0, 2.0, 0.5]])
def test_tasks_and_metrics_equal_numpy_step_by_step(tasks, class_weights):
    loss = {"type": "cross_entropy", "class_weights": class_weights}
    exp = experiment(tasks, loss=loss)
    tables = trained(exp)[0]
    columns, whole = numpy_rows(exp, class_weights and np.array(class_weights))
    found = tables["tasks"]
    assert list(found) == ["step", "current_task", "split", "task", "loss", "accuracy"]
    for name, expected in zip(found, columns, strict=True):
        if name in ("loss", "accuracy"):
            np.testing.assert_allclose(found[name].astype(float), expected, rtol=3e-5, atol=1e-6)
        else:
            assert found[name].tolist() == list(expected)
    metrics, splits = tables["metrics"], list(exp.data.splits)
    for place, split in enumerate(splits):
        for measure, number in (("loss", 0), ("accuracy", 1)):
            expected = [row[number] for row in whole[place :: len(splits)]]
            np.testing.assert_allclose(metrics[f"{split}_{measure}"], expected, rtol=3e-5, atol=1e-6)


def test_values_have_no_accuracy_and_a_task_of_features():
    tree = {"type": "diabetes", "normalize": "standardize", "batch_size": 16}
    tasks = {"type": "permuted_inputs", "count": 2}
    keys = {"loss": "squared_error", "model": [{"type": "dense", "units": 1}]}
    exp = experiment(tasks, steps=4, data=tree, optimizer={"type": "sgd", "learning_rate": 1e-3}, **keys)
    found = trained(exp)[0]
    assert list(found["tasks"]) == ["step", "current_task", "split", "task", "loss"]
    pairs = found["tasks"]["loss"].reshape(-1, len(exp.data.splits), 2)
    np.testing.assert_allclose(pairs[:, 0].mean(1), found["metrics"]["train_loss"], rtol=1e-5)


def test_other_metrics_and_probes_go_along():
    exp = experiment(steps=6, metrics=["f1"], phenomena=["gradient_flow"], record={"every": {"steps": 2}})
    tables = trained(exp)[0]
    assert {"tasks", "layers", "metrics", "histograms"} <= set(tables)
    assert np.isfinite(tables["metrics"]["train_f1"]).all()


# --- what must not change its numbers --------------------------------------------------------------------


@pytest.fixture
def single_steps(monkeypatch):
    """Chunks of one step."""
    monkeypatch.setattr(segments, "CHUNK_SECONDS", 1e-12)


def test_a_training_goes_on_with_the_same_bits(single_steps):
    """From any step: in the middle of a task, at its end, and after it."""
    exp = experiment({**LABELS, "replay": 3}, steps=12)
    chunks, kept = [], {}
    for chunk in train(exp):
        chunks.append(chunk)
        arrays = {name: named() for name, named in array_groups(chunk.state()).items()}
        kept[len(chunks)] = chunk.step, copy.deepcopy(arrays)
    whole, end = tables_of(chunks), jax.tree.leaves(chunks[-1].state().params)
    assert {step for step, _ in kept.values()} == set(range(1, 13))
    for taken, (step, arrays) in kept.items():
        resumed = [*chunks[:taken], *train(exp, ResumePoint(step, lambda arrays=arrays: arrays))]
        if step < 12:
            assert_same(tables_of(resumed), whole)
            found = jax.tree.leaves(resumed[-1].state().params)
            assert all(np.array_equal(a, b) for a, b in zip(found, end, strict=True))


@pytest.mark.parametrize("tasks", [BY_CLASS, LABELS])
def test_lanes_are_the_trainings_alone(tasks):
    """Of seeds whose tasks have other numbers of examples."""
    lanes = [experiment(tasks, seed=seed) for seed in range(3)]
    assert len({lane.program_key for lane in lanes}) == 1
    assert len({tuple(lane.data.train.tasks) for lane in lanes}) == (3 if tasks == BY_CLASS else 1)
    chunks = {lane: [] for lane in range(3)}
    for found in train_together(lanes):
        for lane, chunk in found.items():
            chunks[lane].append(chunk)
    for lane, alone in enumerate(lanes):
        found, expected = tables_of(chunks[lane]), trained(alone)[0]
        for name in ("loss", "accuracy"):
            np.testing.assert_allclose(found["tasks"][name], expected["tasks"][name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("tasks", [{**BY_CLASS, "replay": 20}, LABELS])
def test_a_streamed_training_has_the_bytes_of_one_in_memory(tasks, tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    x, y = random.normal(size=(400, 6)).astype(np.float32), random.integers(0, 3, 400)
    np.savez(tmp_path / "some.npz", x=x, y=y)
    data = {"type": "npz", "path": str(tmp_path / "some.npz"), "normalize": None}
    resident = experiment(tasks, data=data)
    expected = trained(resident)[0]
    monkeypatch.setattr(file_rows, "LARGEST_SHARE", 0.0)
    for module in (batches, streamed_blocks):
        monkeypatch.setattr(module, "STREAMED_BYTES", 8 * 6 * 4 * 5)
    monkeypatch.setattr(compilation, "_compiled", OrderedDict())
    streamed = experiment(tasks, data=data)
    assert streamed.streamed
    assert streamed.data_hash == resident.data_hash
    assert_same(trained(streamed)[0], expected)
    permuted = {"type": "permuted_inputs", "count": 2}
    with pytest.raises(ConfigError, match=r"data\.tasks: needs all inputs at once"):
        experiment(permuted, data=data)


def test_a_frozen_prefix_is_computed_for_the_examples_of_all_tasks():
    model = [{"type": "dense", "units": 5}, "tanh", {"type": "dense", "units": 3}]
    frozen = {"type": "sgd", "learning_rate": 0.1, "groups": [{"layers": "dense_1", "frozen": True}]}
    keys = {"model": model, "optimizer": frozen, "record": {"every": {"steps": 5}, "layers": False}}
    plain, cached = (
        trained(experiment(train={"steps": 20, "cache_frozen": cache}, **keys))[0] for cache in (False, True)
    )
    for name in ("loss", "accuracy"):
        np.testing.assert_allclose(plain["tasks"][name], cached["tasks"][name], rtol=1e-5)


def test_a_config_without_tasks_keeps_its_hash():
    tree = {"name": "t", "data": {"type": "wine"}, "model": ["dense"], "train": {"steps": 1}}
    tree["model"] = [{"type": "dense", "units": 3}]
    without, null = (
        nnlab.experiment({**tree, "data": data})
        for data in ({"type": "wine"}, {"type": "wine", "tasks": None})
    )
    assert without.hash == null.hash
    assert "tasks" not in str(hashed_tree(without.tree))
