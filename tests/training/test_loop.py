"""Training step by step against NumPy, and what must not change its numbers: chunks, records, blocks, a
program compiled for others, other trainings beside it."""

import copy
import math
from collections import OrderedDict
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from annotated_types import Gt
from support import assert_same, experiment_of, tables_of, trained

from nnlab.errors import ConfigError
from nnlab.optim.schedules import Time
from nnlab.phenomena.probe import Probe
from nnlab.registry import KINDS, Scalar, build, components
from nnlab.training import batches, blocks, compilation, loop, segments
from nnlab.training.batches import BatchOrder
from nnlab.training.blocks import EvalBlocks
from nnlab.training.compilation import programs_for
from nnlab.training.lanes import Lanes
from nnlab.training.loop import train, train_together
from nnlab.training.program import group_key

WINE = {"type": "wine", "normalize": "standardize", "batch_size": 16}
TANH_NET = [{"type": "dense", "units": 8}, "tanh", {"type": "dense", "units": 3}]
MOMENTUM = {"type": "sgd", "momentum": 0.9, "learning_rate": 0.1}


def experiment(data=WINE, model=TANH_NET, steps=20, every=1, **keys):
    tree = {
        "name": "test",
        "data": data,
        "model": model,
        "optimizer": MOMENTUM,
        "train": {"steps": steps},
        "record": {"every": {"steps": every}},
        **keys,
    }
    return experiment_of(tree)


def assert_close(found, expected, rtol, atol):
    """To rounding; names, and what is no number, exactly."""
    assert found.keys() == expected.keys()
    for name, columns in found.items():
        assert list(columns) == list(expected[name])
        for column, values in columns.items():
            theirs = expected[name][column]
            if values.dtype == object:
                assert values.tolist() == theirs.tolist()
            else:
                np.testing.assert_allclose(values, theirs, rtol=rtol, atol=atol, err_msg=f"{name}.{column}")


@pytest.fixture
def compiled(monkeypatch):
    """The compiled programs by key: none yet; those of the test are forgotten after it."""
    monkeypatch.setattr(compilation, "_compiled", OrderedDict())
    return compilation._compiled


def set_limits(monkeypatch, limits):
    for name, value in limits.items():
        module = batches if name == "MAXIMUM_ORDER_BYTES" else segments
        monkeypatch.setattr(module, name, value)


def first_weights(exp):
    params, _ = exp.model.init(exp.plan.seed)
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)


# --- against NumPy ---------------------------------------------------------------------------------------


def numpy_metrics(w, part):
    hidden = np.tanh(part.inputs.astype(np.float64) @ w["k1"] + w["b1"])
    logits = hidden @ w["k2"] + w["b2"]
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    loss = -log_p[np.arange(len(part)), part.targets].mean()
    return hidden, np.exp(log_p), loss, (logits.argmax(1) == part.targets).mean()


def numpy_training(exp, rate, momentum, nesterov=False):
    """A two-layer tanh net with cross-entropy, in float64: the rows that metrics.csv must have."""
    start = first_weights(exp)
    w = {
        "k1": start["dense_1"]["kernel"],
        "b1": start["dense_1"]["bias"],
        "k2": start["dense_2"]["kernel"],
        "b2": start["dense_2"]["bias"],
    }
    velocity = {name: np.zeros_like(value) for name, value in w.items()}
    order = BatchOrder(exp).rows(0, exp.total_steps + 1)
    rows = []
    for step in range(exp.total_steps + 1):
        row = {"step": step, "epoch": step / exp.steps_per_epoch, "learning_rate": rate}
        for name, part in exp.data.splits.items():
            _, _, row[f"{name}_loss"], row[f"{name}_accuracy"] = numpy_metrics(w, part)
        batch = exp.data.train.take(order[step]) if order.shape[1] else exp.data.train
        hidden, p, _, _ = numpy_metrics(w, batch)
        error = (p - np.eye(p.shape[1])[batch.targets]) / len(batch)
        back = error @ w["k2"].T * (1 - hidden**2)
        g = {
            "k1": batch.inputs.T @ back,
            "b1": back.sum(0),
            "k2": hidden.T @ error,
            "b2": error.sum(0),
        }
        row["grad_norm"] = math.sqrt(sum((value**2).sum() for value in g.values()))
        row["weight_norm"] = math.sqrt(sum((value**2).sum() for value in w.values()))
        for name, gradient in g.items():
            velocity[name] = momentum * velocity[name] + gradient
            direction = gradient + momentum * velocity[name] if nesterov else velocity[name]
            w[name] = w[name] - rate * direction
        rows.append(row)
    return {column: np.array([row[column] for row in rows]) for column in rows[0]}


@pytest.mark.parametrize(
    ("batch_size", "optimizer"),
    [
        (16, MOMENTUM),
        ("full", {**MOMENTUM, "nesterov": True}),
    ],
)
def test_training_equals_numpy_step_by_step(batch_size, optimizer):
    exp = experiment(data={**WINE, "batch_size": batch_size}, optimizer=optimizer)
    found = trained(exp)[0]["metrics"]
    expected = numpy_training(exp, 0.1, 0.9, optimizer.get("nesterov", False))
    assert list(found) == list(expected)
    for column, values in expected.items():
        np.testing.assert_allclose(found[column], values, rtol=2e-5, atol=1e-6, err_msg=column)
    assert found["train_loss"][-1] < 0.5 * found["train_loss"][0]


def test_cosine_rate_reaches_the_weights():
    cosine = {"type": "sgd", "learning_rate": {"type": "cosine", "peak": 0.2}}
    found = trained(experiment(optimizer=cosine, steps=10))[0]
    metrics, layers = found["metrics"], found["layers"]
    expected = 0.2 * (1 + np.cos(np.pi * np.arange(11) / 10)) / 2
    np.testing.assert_allclose(metrics["learning_rate"], expected, rtol=1e-5, atol=1e-8)
    rate = np.repeat(metrics["learning_rate"], 2)  # plain SGD moves each layer by rate times its gradient
    moved = layers["update_ratio"] * layers["weight_norm"]
    np.testing.assert_allclose(moved, rate * layers["grad_norm"], rtol=1e-5, atol=1e-9)


# --- the order of examples -------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [16, 7, 124])
def test_every_epoch_is_the_beginning_of_a_permutation(batch_size):
    exp = experiment(data={**WINE, "batch_size": batch_size}, steps=60)
    order, per_epoch = BatchOrder(exp), exp.steps_per_epoch
    examples = len(exp.data.train)
    assert per_epoch == examples // batch_size
    epochs = [order.rows(epoch * per_epoch, per_epoch) for epoch in range(4)]
    for rows in epochs:
        assert rows.dtype == np.int32
        assert rows.shape == (per_epoch, batch_size)
        assert len(set(rows.ravel())) == rows.size, "an example comes at most once an epoch"
        assert 0 <= rows.min() <= rows.max() < examples
    assert not np.array_equal(epochs[0], epochs[1])
    together = order.rows(0, 4 * per_epoch)
    np.testing.assert_array_equal(together, np.concatenate(epochs))


def test_order_is_the_same_wherever_one_asks_for_it():
    exp = experiment(steps=60)
    order = BatchOrder(exp)
    whole = order.rows(0, 40)
    for start, count in ((0, 1), (5, 3), (6, 9), (7, 1), (13, 27), (39, 1)):
        np.testing.assert_array_equal(order.rows(start, count), whole[start : start + count])
    np.testing.assert_array_equal(BatchOrder(exp).rows(20, 5), whole[20:25])
    other = BatchOrder(experiment(steps=60, seed=1))
    assert not np.array_equal(other.rows(0, 40), whole)


def test_a_full_batch_takes_every_example_every_step():
    exp = experiment(data={**WINE, "batch_size": "full"})
    assert exp.batch_size == len(exp.data.train)
    assert exp.steps_per_epoch == 1
    assert BatchOrder(exp).rows(3, 5).shape == (5, 0)
    larger = experiment(data={**WINE, "batch_size": 10_000})
    rows = BatchOrder(larger).rows(0, 2)
    assert larger.steps_per_epoch == 1
    np.testing.assert_array_equal(np.sort(rows, 1), np.tile(np.arange(len(larger.data.train)), (2, 1)))


# --- records ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "steps", "expected"),
    [
        ({"every": {"steps": 7}}, 20, [0, 7, 14, 20]),
        ({"every": {"steps": 10}}, 20, [0, 10, 20]),
        ({"every": {"steps": 100}}, 20, [0, 20]),
        ({"every": {"epochs": 1}}, 20, [0, 7, 14, 20]),
        ({"every": {"epochs": 0.5}}, 10, [0, 4, 8, 10]),
        ({"every": {"steps": 1}}, 0, [0]),
        ({"log_spaced": 5}, 15, [0, 1, 3, 7, 15]),
        ({"log_spaced": 300}, 20, None),
        ({"log_spaced": 2}, 20, [0, 20]),
        ({"log_spaced": 9}, 0, [0]),
    ],
)
def test_records_include_the_first_and_last_step_and_nothing_twice(record, steps, expected):
    exp = experiment(steps=steps, record=record)
    assert exp.steps_per_epoch == 7
    found = exp.record_steps
    assert found == sorted(set(found))
    assert (found[0], found[-1]) == (0, steps)
    assert expected is None or found == expected


def test_tables_have_a_row_a_record():
    exp = experiment(record={"log_spaced": 6})
    tables, chunks = trained(exp)
    assert tables["metrics"]["step"].tolist() == exp.record_steps
    np.testing.assert_allclose(tables["metrics"]["epoch"], np.array(exp.record_steps) / 7)
    assert tables["layers"]["step"].tolist() == [step for step in exp.record_steps for _ in range(2)]
    assert tables["layers"]["layer"].tolist() == ["dense_1", "dense_2"] * len(exp.record_steps)
    assert [chunk.step for chunk in chunks][-1] == 20
    assert all(chunk.finite for chunk in chunks)


@pytest.mark.parametrize("chunk_steps", [1, 100])
def test_a_probe_may_measure_one_of_several_records(compiled, monkeypatch, chunk_steps):
    """The first and the last always among them, however the training is cut; the numbers are the same."""
    monkeypatch.setattr(segments, "MAXIMUM_FIRST_STEPS", chunk_steps)

    def tables(every):
        def loss(setup, snapshot):
            return (snapshot.batch_loss[None],)

        exp = experiment(steps=25, every=2)
        name = f"every_{every}"
        exp.__dict__["probes"] = [Probe(name, lambda *_: {"row": ["a"]}, ("loss",), loss, every=every)]
        compiled.clear()
        return trained(exp)[0][name]

    dense, sparse = tables(1), tables(5)
    assert sparse["step"].tolist() == [0, 10, 20, 25]
    kept = np.isin(dense["step"], sparse["step"])
    np.testing.assert_array_equal(sparse["loss"], dense["loss"][kept])
    assert (sparse["loss"] > 0).all()


def test_a_training_of_no_steps_is_a_look():
    tables, chunks = trained(experiment(steps=0))
    assert [chunk.step for chunk in chunks] == [0]
    assert tables["metrics"]["step"].tolist() == [0]
    assert np.isfinite(tables["metrics"]["grad_norm"]).all()


def test_epochs_are_counted_in_steps():
    exp = experiment(train={"epochs": 2.5}, record={"every": {"epochs": 1}})
    assert exp.total_steps == round(2.5 * 7)
    assert exp.record_steps == [0, 7, 14, 18]


# --- what must not change the numbers --------------------------------------------------------------------

# dropout, batch norm and momentum: everything that a step hands to the next
EVERYTHING = [
    {"type": "dense", "units": 9},
    "batch_norm",
    "relu",
    {"type": "dropout", "rate": 0.3},
    {"type": "dense", "units": 3},
]


def everything(**keys):
    return experiment(**{"model": EVERYTHING, "steps": 45, "every": 4, **keys})


@pytest.fixture(scope="module")
def programs():
    """Compiled once: none of what these tests change is part of the program."""
    return programs_for(Lanes([everything()]))


@pytest.fixture(scope="module")
def uncut():
    return trained(everything())[0]


@pytest.mark.parametrize(
    "limits",
    [
        {"MAXIMUM_FIRST_STEPS": 1, "CHUNK_SECONDS": 0.0},
        {"MAXIMUM_FIRST_STEPS": 5, "CHUNK_SECONDS": 1e-9},
        {"MAXIMUM_FIRST_STEPS": 10_000},
    ],
    ids=str,
)
def test_the_length_of_chunks_does_not_change_a_bit(uncut, programs, limits, monkeypatch):
    monkeypatch.setattr(loop, "programs_for", lambda _: programs)
    assert_unchanged(uncut, limits, monkeypatch)


@pytest.mark.parametrize(
    "limits",
    [
        {"MAXIMUM_SEGMENTS": 1, "MAXIMUM_ORDER_BYTES": 1},
        {"MAXIMUM_SEGMENTS": 3, "MAXIMUM_ORDER_BYTES": 4 * 16 * 5},
    ],
    ids=str,
)
@pytest.mark.usefixtures("compiled")  # what these change is a shape of the program
def test_the_size_of_chunks_does_not_change_a_bit(uncut, limits, monkeypatch):
    assert_unchanged(uncut, limits, monkeypatch)


def assert_unchanged(uncut, limits, monkeypatch):
    set_limits(monkeypatch, limits)
    tables, chunks = trained(everything())
    assert_same(tables, uncut)
    assert len(chunks) >= (1 if limits == {"MAXIMUM_FIRST_STEPS": 10_000} else 4)


@pytest.mark.parametrize("record", [{"every": {"steps": 1}}, {"log_spaced": 8}, {"every": {"steps": 45}}])
def test_recording_more_or_less_often_does_not_change_the_numbers(uncut, programs, record, monkeypatch):
    """But for the rounding of a recorded step, which is compiled together with its probes."""
    exp = everything(record=record)
    if record != {"every": {"steps": 1}}:
        monkeypatch.setattr(loop, "programs_for", lambda _: programs)
    found = trained(exp)[0]
    for table, columns in found.items():
        theirs = uncut[table]
        shared = sorted(set(columns["step"].tolist()) & set(theirs["step"].tolist()))
        assert (shared[0], shared[-1]) == (0, 45)
        for column, values in columns.items():
            ours = values[np.isin(columns["step"], shared)]
            expected = theirs[column][np.isin(theirs["step"], shared)]
            if values.dtype == object:
                assert ours.tolist() == expected.tolist()
            else:
                np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6, err_msg=f"{table}.{column}")


def test_leaving_out_the_layers_does_not_change_the_numbers(uncut):
    """The inside view is not measured then; a recorded step is one like any other."""
    found = trained(everything(record={"every": {"steps": 4}, "layers": False}))[0]
    assert list(found) == ["metrics"]
    expected = {column: values for column, values in uncut["metrics"].items() if column != "grad_norm"}
    assert_close(found, {"metrics": expected}, rtol=1e-5, atol=1e-6)


def test_another_seed_is_another_training(uncut):
    other = trained(everything(seed=1))[0]["metrics"]
    assert not np.array_equal(other["train_loss"], uncut["metrics"]["train_loss"])


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_dropout_draws_from_the_seed(rate):
    """Of all that a seed draws, only dropout is left to tell two trainings apart."""
    even = {"kernel_init": {"type": "constant", "value": 0.1}}
    model = [{"type": "dense", "units": 5, **even}, "tanh", {"type": "dropout", "rate": rate}]
    keys = {"data": {**WINE, "batch_size": "full"}, "model": [*model, {"type": "dense", "units": 3, **even}]}
    data = experiment(**keys).data
    first, again, other = (
        trained(replace(experiment(**keys, seed=seed, steps=5), data=data))[0] for seed in (0, 0, 1)
    )
    assert_same(first, again)
    assert np.array_equal(first["metrics"]["train_loss"], other["metrics"]["train_loss"]) == (rate == 0)


VALUES = 9 + 9 + 9 + 9 + 3  # that an example makes, layer by layer


@pytest.mark.parametrize("most", [1, 4, 5, 26, 50, 10_000])
@pytest.mark.usefixtures("compiled")
def test_evaluating_in_blocks_gives_the_same_metrics(uncut, most, monkeypatch):
    monkeypatch.setattr(blocks, "MAXIMUM_BLOCK_VALUES", most * VALUES + VALUES - 1)
    exp = everything()
    sizes = [len(part) for part in exp.data.splits.values()]
    block, spans = EvalBlocks.of(exp)
    assert 1 <= block <= min(most, max(sizes))
    assert block == 1 or any(size % block for size in sizes), "a rest is evaluated too"
    assert [count for _, _, count in spans.values()] == sizes
    found = trained(exp)[0]["metrics"]
    for column, whole in uncut["metrics"].items():
        np.testing.assert_allclose(found[column], whole, rtol=1e-6, atol=1e-6, err_msg=column)


@pytest.mark.parametrize("most", [1, 5, 62, 10_000])
def test_a_layout_holds_every_example_once(most, monkeypatch):
    monkeypatch.setattr(blocks, "MAXIMUM_BLOCK_VALUES", most * VALUES)
    exp = everything()
    layout = EvalBlocks.of(exp)
    held = layout.arrange(exp)
    assert len(held.inputs) == len(held.targets) == len(held.real) == layout.block_count * layout.block_size
    end = 0
    for name, (first, number, count) in layout.spans.items():
        assert first == end
        end, start = first + number, first * layout.block_size
        part = exp.data.splits[name]
        np.testing.assert_array_equal(held.inputs[start : start + count], part.inputs)
        np.testing.assert_array_equal(held.targets[start : start + count], part.targets)
        assert held.real[start : start + count].all()
        assert not held.real[start + count : end * layout.block_size].any()
        assert end * layout.block_size - start - count < layout.block_size, "no block is empty"
    assert end == layout.block_count
    assert next(iter(layout.spans)) == "train", "batches are taken by the number of the row"


# --- programs that serve many trainings ------------------------------------------------------------------

ADAMW = {"type": "adamw", "learning_rate": {"type": "cosine", "peak": 0.02, "floor": 0.1}}
ORTHOGONAL = [
    {"type": "dense", "units": 9, "kernel_init": "orthogonal", "bias_init": {"type": "normal", "std": 0.1}},
    *EVERYTHING[1:],
]
SHARING = {
    "seed": {"seed": 2**32 - 1},
    "rate": {"optimizer": {**ADAMW, "learning_rate": {"type": "cosine", "peak": 0.5, "floor": 0.1}}},
    "floor": {"optimizer": {**ADAMW, "learning_rate": {"type": "cosine", "peak": 0.02, "floor": 0.9}}},
    "weight decay": {"optimizer": {**ADAMW, "weight_decay": 3.0}},
    "label noise": {"data": {**WINE, "label_noise": 0.3}},
    "scaling": {"data": {**WINE, "normalize": "min_max"}},
    "first weights": {"model": ORTHOGONAL},
    "name": {"name": "other", "expect": {"final.train_loss": {"max": 1.0}}},
}
OWN = {
    "momentum": {"optimizer": {**MOMENTUM, "momentum": 0.8}},
    "nesterov": {"optimizer": {**MOMENTUM, "nesterov": True}},
    "optimizer": {"optimizer": ADAMW},
    "schedule": {"optimizer": {**MOMENTUM, "learning_rate": {"type": "cosine", "peak": 0.1}}},
    "width": {"model": [{"type": "dense", "units": 10}, *EVERYTHING[1:]]},
    "activation": {"model": [EVERYTHING[0], "batch_norm", "tanh", *EVERYTHING[3:]]},
    "dropout": {"model": [*EVERYTHING[:3], {"type": "dropout", "rate": 0.4}, EVERYTHING[-1]]},
    "loss": {"loss": "squared_error"},
    "steps": {"steps": 46},
    "batch size": {"data": {**WINE, "batch_size": 15}},
    "full batch": {"data": {**WINE, "batch_size": "full"}},
    "examples": {"data": {**WINE, "limit": 170}},
    "split": {"data": {**WINE, "split": {"validation": 0.15, "test": 0.2}}},
    "layers": {"record": {"every": {"steps": 4}, "layers": False}},
    "probes": {"phenomena": ["symmetry"]},
}


def adamw(**keys):
    """Every number that a program takes as an argument is at work here."""
    return everything(**{"optimizer": ADAMW, **keys})


@pytest.mark.parametrize("what", SHARING)
def test_a_program_is_shared_whatever_the_seed_and_the_traced_numbers(what):
    first, second = adamw(), adamw(**SHARING[what])
    assert first.config.hash != second.config.hash
    assert first.program_key == second.program_key
    assert group_key(first.config) == group_key(second.config)


@pytest.mark.parametrize("what", OWN)
def test_a_program_of_its_own(what):
    assert everything().program_key != everything(**OWN[what]).program_key


def test_keys_of_programs_are_told_apart_before_the_data_are_there():
    """But for what changes only their shape."""
    groups = {what: group_key(everything(**keys).config) for what, keys in OWN.items()}
    assert len({group_key(everything().config), *groups.values()}) == len(groups) + 1


@pytest.mark.parametrize("what", ["seed", "rate", "floor", "weight decay", "label noise", "first weights"])
def test_a_program_compiled_for_another_gives_the_same_bytes(what, compiled):
    with jax.numpy_dtype_promotion("standard"):  # optax raises floats to whole powers
        mine = adamw(**SHARING[what])
        other, alone = trained(adamw())[0], programs_for(Lanes([mine]))
        shared = trained(mine)[0]
        assert len(compiled) == 1
        assert next(iter(compiled.values())) is alone
        compiled.clear()
        fresh = trained(mine)[0]
    assert_same(shared, fresh)
    assert not np.array_equal(shared["metrics"]["train_loss"], other["metrics"]["train_loss"])


def test_the_programs_used_last_are_kept(compiled, monkeypatch):
    monkeypatch.setattr(compilation, "_compile", lambda lanes: lanes.lead.plan.train.steps)
    for steps in (1, 2, 3, 4, 1, 5, 6):
        assert programs_for(Lanes([everything(steps=steps)])) == steps
    assert list(compiled.values()) == [4, 1, 5, 6]


# a way to see what a component makes of its numbers, for every kind that has traced ones
def _rates(schedule):
    """Over the steps, and after records whose loss does not fall."""
    memory, found = schedule.init(), []
    for step in range(11):
        found.append(schedule.rate(memory, Time(jnp.int32(step), 10, 5)))
    for _ in range(40):
        memory = schedule.update(memory, jnp.float32(1.0), Time(jnp.int32(10), 10, 5))
        found.append(schedule.rate(memory, Time(jnp.int32(10), 10, 5)))
    return jnp.stack(found)


def _directions(optimizer):
    """Three steps' directions and the rates that they would be taken with."""
    weights = {"w": jnp.array([[0.5, -2.0], [3.0, 0.1]]), "b": jnp.array([1.0, -1.0])}
    direction = optimizer.gradient_transform()
    state, found = direction.init(weights), []
    for scale in (1.0, -0.5, 0.1):
        gradients = jax.tree.map(lambda w, s=scale: s * jnp.cos(w), weights)
        if optimizer.ascent is not None:
            gradients = jax.tree.map(jnp.cos, optimizer.ascent(weights, gradients))
        towards, state = direction.update(gradients, state, weights)
        found += jax.tree.leaves(towards)
    return [*found, _rates(optimizer.learning_rate)]


def _penalties(regularizer):
    """The penalty on some weights, and its gradient."""
    return list(jax.value_and_grad(regularizer)({"w": jnp.array([[0.5, -2.0], [3.0, 0.1]])}))


def _constrained(constraint):
    """A kernel of long and short columns."""
    return [constraint(jnp.array([[0.5, -2.0, 0.01], [3.0, 0.1, 0.0]]))]


def _augmented(augmentation):
    images = jnp.linspace(-1, 1, 64 * 6 * 6).reshape(64, 6, 6) ** 3
    tokens = jax.random.randint(jax.random.key(0), (64, 36), 28, 37)  # one in nine is the space of bytes
    inputs = tokens.astype(jnp.float32) if augmentation.of_tokens else images
    found = augmentation.apply(jax.random.key(1), inputs)
    return [found.inputs] if found.share is None else [found.share]


def _losses(loss):
    return [loss.per_example(jnp.linspace(-1.0, 1.0, 12).reshape(4, 3), jnp.zeros((4, 3)))]


WAYS = {
    "loss": _losses,
    "schedule": _rates,
    "optimizer": _directions,
    "regularizer": _penalties,
    "constraint": _constrained,
    "augmentation": _augmented,
}
MARKED = [
    (kind, name, parameter.name)
    for kind in KINDS
    for name, component in components(kind).items()
    for parameter in component.parameters.values()
    if isinstance(parameter.spec, Scalar) and parameter.spec.traced
]


@pytest.mark.parametrize(("kind", "name", "key"), MARKED, ids="-".join)
def test_a_number_marked_traced_does_the_same_traced_as_constant(kind, name, key):
    required = {p.name: 0.3 for p in components(kind)[name].parameters.values() if p.required}

    def made(number):
        return WAYS[kind](build(kind, {"type": name, **required, key: number}))

    positive = Gt(0.0) in components(kind)[name].parameters[key].spec.bounds
    traced = jax.jit(made)
    outcomes = []
    with jax.numpy_dtype_promotion("standard"):  # optax raises floats to whole powers
        numbers = (0.01 if positive else 0.0, 0.05, 0.7)
        for number, constant in zip(numbers, jax.jit(lambda: [made(n) for n in numbers])(), strict=True):
            jax.tree.map(
                lambda found, expected: np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12),
                traced(np.float32(number)),
                constant,
            )
            outcomes.append(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(constant)]))
    assert traced._cache_size() == 1
    assert not np.allclose(outcomes[0], outcomes[1])
    assert not np.allclose(outcomes[1], outcomes[2])


def test_rates_and_weight_decay_are_marked_traced():
    assert set(MARKED) >= {
        ("optimizer", "adamw", "weight_decay"),
        ("schedule", "constant", "value"),
        ("schedule", "cosine", "peak"),
        ("schedule", "cosine", "floor"),
        ("regularizer", "l2", "strength"),
        ("optimizer", "grokfast", "amplification"),
    }


# --- lanes: trainings side by side -----------------------------------------------------------------------

LANES = [
    {},
    {"seed": 1, "optimizer": {**MOMENTUM, "learning_rate": 0.03}},
    {"seed": 2, "optimizer": {**MOMENTUM, "learning_rate": 0.2}, "data": {**WINE, "label_noise": 0.2}},
]


def lanes_of(shared, **keys):
    """Experiments of one program; shared: on the same data, each having loaded them for itself."""
    lanes = [everything(**{**lane, **keys}) for lane in LANES]
    return on_one(lanes) if shared else lanes


def on_one(lanes):
    return [replace(lane, data=copy.deepcopy(lanes[0].data)) for lane in lanes]


def trained_together(lanes):
    """The tables of each lane, and its chunks."""
    chunks = {lane: [] for lane in range(len(lanes))}
    for found in train_together(lanes):
        for lane, chunk in found.items():
            chunks[lane].append(chunk)
    return [tables_of(found) for found in chunks.values()], list(chunks.values())


@pytest.mark.parametrize("shared", [False, True], ids=["own data", "shared data"])
def test_lanes_are_the_trainings_alone(shared, compiled):
    lanes = lanes_of(shared, phenomena=["gradient_flow", "symmetry"])
    assert Lanes(lanes).shares_data == shared
    tables, chunks = trained_together(lanes)
    assert len(compiled) == 1
    for lane, found, parts in zip(lanes, tables, chunks, strict=True):
        alone, _ = trained(lane)
        assert_close(found, alone, rtol=2e-5, atol=1e-6)
        assert all(chunk.finite for chunk in parts)
        assert parts[-1].step == 45
    assert len(compiled) == 2
    losses = [found["metrics"]["train_loss"] for found in tables]
    assert not np.allclose(losses[0], losses[1], rtol=0.01)
    assert not np.allclose(losses[0], losses[2], rtol=0.01)


DIVERGING = {
    "model": [{"type": "dense", "units": 9}, "relu", {"type": "dense", "units": 3}],
    "loss": "squared_error",
}
RATES = [0.02, 1e4, 0.05]


@pytest.mark.parametrize("limits", [{}, {"MAXIMUM_FIRST_STEPS": 1, "CHUNK_SECONDS": 0.0}], ids=str)
@pytest.mark.parametrize("shared", [False, True], ids=["own data", "shared data"])
def test_a_lane_that_diverges_leaves_the_others_as_they_were(shared, limits, monkeypatch):
    set_limits(monkeypatch, limits)
    lanes = [
        everything(**{**lane, **DIVERGING}, optimizer={**MOMENTUM, "learning_rate": rate})
        for lane, rate in zip([{"seed": 0}, {"seed": 1}, {"seed": 2}], RATES, strict=True)
    ]
    lanes = on_one(lanes) if shared else lanes
    assert Lanes(lanes).shares_data == shared
    tables, chunks = trained_together(lanes)
    ends = []
    for lane, found, parts in zip(lanes, tables, chunks, strict=True):
        alone, theirs = trained(lane)
        assert_close(found, alone, rtol=2e-5, atol=1e-6)
        assert [chunk.finite for chunk in parts[:-1]] == [True] * (len(parts) - 1)
        assert (parts[-1].step, parts[-1].finite) == (theirs[-1].step, theirs[-1].finite)
        ends.append((parts[-1].step, parts[-1].finite))
    assert ends[0] == ends[2] == (45, True)
    step, finite = ends[1]
    assert not finite
    assert 1 < step < 20
    assert tables[1]["metrics"]["step"].max() <= step
    if limits:
        assert len(chunks[1]) < len(chunks[0])


def test_lanes_end_where_all_of_them_diverged():
    hot = [
        everything(
            seed=seed, **DIVERGING, optimizer={**MOMENTUM, "learning_rate": 1e4}, steps=1000, every=100
        )
        for seed in range(2)
    ]
    _, chunks = trained_together(hot)
    assert [parts[-1].finite for parts in chunks] == [False, False]
    assert all(parts[-1].step < 20 for parts in chunks)


# --- predictions -----------------------------------------------------------------------------------------


def final_states(monkeypatch):
    """What the last weights turn out to be, lane by lane, as the program itself hands them on."""
    seen = []

    def watched(lanes):
        found = programs_for(lanes)

        def outputs(arguments, state):
            seen.extend(lanes.split(jax.device_get(state)))
            return found.outputs(arguments, state)

        return found._replace(outputs=outputs)

    monkeypatch.setattr(loop, "programs_for", watched)
    return seen


def assert_predicted(exp, state, tables):
    """The table is the model's output in evaluation mode, and its loss that of the last record."""
    table, metrics = tables["predictions"], tables["metrics"]
    width = exp.model.setup.output_shape[0]
    fields = ["input"] if exp.data.train.inputs[0].size == 1 else []
    assert list(table) == ["split", "example", *fields, "output", "target", "prediction", "row"]
    assert list(dict.fromkeys(table["split"])) == ["train", "test"]
    for split in ("train", "test"):
        part, rows = exp.data.splits[split], table["split"] == split
        key = jax.random.key(0)
        found = exp.model.apply(state.params, state.layer_state, part.inputs, key=key, train=False).value
        predictions = table["prediction"][rows].reshape(len(part), width)
        np.testing.assert_array_equal(table["row"][rows], np.repeat(part.rows, width))
        np.testing.assert_allclose(predictions, found, rtol=2e-5, atol=1e-5)
        np.testing.assert_array_equal(table["example"][rows], np.repeat(np.arange(len(part)), width))
        np.testing.assert_array_equal(table["output"][rows], np.tile(np.arange(width), len(part)))
        if fields:
            np.testing.assert_array_equal(table["input"][rows], part.inputs[:, 0])
        targets = table["target"][rows].reshape(len(part), width)
        if not part.classes:
            np.testing.assert_array_equal(targets, part.targets)
        else:
            np.testing.assert_array_equal(targets[:, -1], part.targets == max(width, 2) - 1)
            assert width == 1 or (targets.argmax(1) == part.targets).all()
        loss = exp.config.tree["loss"]
        name = loss if isinstance(loss, str) else loss["type"]
        if name == "cross_entropy":
            assert loss["label_smoothing"] == 0.0
            shifted = predictions.astype(np.float64)
            losses = np.log(np.exp(shifted).sum(1)) - shifted[targets == 1]
        elif name == "binary_cross_entropy":
            losses = np.logaddexp(0, predictions) - targets * predictions
        else:
            losses = np.square(predictions - targets)
        assert metrics[f"{split}_loss"][-1] == pytest.approx(losses.mean(), rel=2e-5)


PREDICTING = {"record": {"every": {"steps": 9}, "predictions": True}}
XOR = {"type": "xor", "examples": 90, "batch_size": 16}
WAVE = {"type": "wave", "examples": 21, "batch_size": 4, "test_examples": 33}
CURVED = [{"type": "dense", "units": 5}, "tanh", {"type": "dense", "units": 1}]


@pytest.mark.parametrize(
    "keys",
    [
        {"model": EVERYTHING},
        {"data": XOR, "model": CURVED, "loss": "binary_cross_entropy"},
        {"data": WAVE, "model": CURVED, "loss": "squared_error"},
    ],
    ids=["three classes", "one output", "one input"],
)
def test_predictions_are_the_outputs_of_the_last_weights(keys, monkeypatch):
    states = final_states(monkeypatch)
    exp = experiment(**keys, **PREDICTING)
    tables, chunks = trained(exp)
    assert_predicted(exp, *states, tables)
    assert ["predictions" in chunk.tables for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


def test_predictions_of_lanes(monkeypatch):
    lanes = lanes_of(shared=False, **PREDICTING)
    states = final_states(monkeypatch)
    tables, _ = trained_together(lanes)
    for lane, state, found in zip(lanes, states, tables, strict=True):
        assert_predicted(lane, state, found)


@pytest.mark.parametrize("seconds", [0.0, 1e9], ids=["step by step", "in one go"])
def test_a_training_that_diverged_predicts_nothing_however_it_is_cut(seconds, monkeypatch):
    set_limits(monkeypatch, {"MAXIMUM_FIRST_STEPS": 1, "CHUNK_SECONDS": seconds})
    exp = everything(**DIVERGING, **PREDICTING, optimizer={**MOMENTUM, "learning_rate": 1e4})
    tables, chunks = trained(exp)
    assert not chunks[-1].finite
    assert "predictions" not in tables


# --- divergence ------------------------------------------------------------------------------------------


def first_overflow(exp, rate):
    """The first step whose batch loss, in float32 as trained, is no finite number: a linear regression."""
    start = first_weights(exp)["dense_1"]
    w, b = start["kernel"].astype(np.float32), start["bias"].astype(np.float32)
    x, y = exp.data.train.inputs, exp.data.train.targets
    order = BatchOrder(exp).rows(0, exp.total_steps + 1)
    with np.errstate(all="ignore"):
        for step in range(exp.total_steps + 1):
            rows = order[step] if order.shape[1] else slice(None)
            error = x[rows] @ w + b - y[rows]
            if not np.isfinite(np.square(error).mean(dtype=np.float32)):
                return step
            w = w - np.float32(rate) * 2 * x[rows].T @ error / np.float32(len(error))
            b = b - np.float32(rate) * 2 * error.mean(0, dtype=np.float32)
    return None


@pytest.mark.parametrize(
    ("batch_size", "every", "limits"),
    [
        ("full", 1, {"MAXIMUM_FIRST_STEPS": 1, "CHUNK_SECONDS": 0.0}),
        ("full", 100, {}),
        (50, 4, {}),
    ],
)
def test_a_huge_learning_rate_diverges_at_the_step_named(batch_size, every, limits, monkeypatch):
    set_limits(monkeypatch, limits)
    exp = experiment(
        data={"type": "diabetes", "normalize": "standardize", "batch_size": batch_size},
        model=[{"type": "dense", "units": 1}],
        loss="squared_error",
        optimizer={"type": "sgd", "learning_rate": 1e3},
        steps=100,
        every=every,
    )
    tables, chunks = trained(exp)
    expected = first_overflow(exp, 1e3)
    assert 2 < expected < 12
    assert [chunk.finite for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    assert chunks[-1].step == expected
    assert tables["metrics"]["step"].max() <= expected


def test_a_training_loss_that_overflows_before_its_batch_does_stops_at_its_record(tmp_path):
    """One example of 1e25 among ones: the loss over all is infinite at step 0, whichever comes first."""
    x = np.ones((40, 1))
    x[7] = 1e25
    np.savez(tmp_path / "a.npz", x=x, y=np.ones(40))
    exp = experiment(
        data={
            "type": "npz",
            "path": str(tmp_path / "a.npz"),
            "task": "regression",
            "split": {"train": 1.0},
            "batch_size": 1,
        },
        model=[{"type": "dense", "units": 1, "kernel_init": {"type": "constant", "value": 0.5}}],
        loss="squared_error",
        optimizer={"type": "sgd", "learning_rate": 1e-3},
        steps=30,
    )
    tables, chunks = trained(exp)
    assert not chunks[-1].finite
    assert chunks[-1].step == 0
    assert tables["metrics"]["step"].tolist() == [0]


def test_a_last_record_that_is_not_finite_counts_as_divergence():
    exp = experiment(
        data={"type": "diabetes", "normalize": "standardize", "batch_size": "full"},
        model=[{"type": "dense", "units": 1}],
        loss="squared_error",
        optimizer={"type": "sgd", "learning_rate": 1e30},
        steps=1,
    )
    chunks = list(train(exp))
    assert not chunks[-1].finite
    assert chunks[-1].step == 1


# --- whole trainings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [{"type": "dropout", "rate": 0.2}, "batch_norm"])
def test_nets_with_training_modes_learn(layer):
    model = [{"type": "dense", "units": 16}, layer, "relu", {"type": "dense", "units": 3}]
    found = trained(experiment(model=model, steps=200, every=100))[0]["metrics"]
    assert found["validation_accuracy"][-1] > 0.9
    assert found["train_accuracy"][-1] > 0.95


def test_an_optimizer_with_state_of_its_own_learns():
    with jax.numpy_dtype_promotion("standard"):  # optax raises floats to whole powers
        adamw = {"type": "adamw", "learning_rate": 0.01}
        found = trained(experiment(optimizer=adamw, steps=300, every=300))[0]["metrics"]
    assert found["train_loss"][-1] < 0.6 * found["train_loss"][0]


def test_a_regression_has_losses_and_no_accuracy():
    exp = experiment(
        data={"type": "diabetes", "normalize": "standardize", "batch_size": "full"},
        model=[{"type": "dense", "units": 1}],
        loss="squared_error",
        optimizer={"type": "sgd", "learning_rate": 0.1},
        steps=2000,
        every=1000,
    )
    metrics = trained(exp)[0]["metrics"]
    losses = [f"{split}_loss" for split in ("train", "validation", "test")]
    assert list(metrics) == ["step", "epoch", "learning_rate", *losses, "grad_norm", "weight_norm"]
    x = np.column_stack([exp.data.train.inputs, np.ones(len(exp.data.train))]).astype(np.float64)
    best = np.linalg.lstsq(x, exp.data.train.targets)[1][0] / len(x)
    assert metrics["train_loss"][-1] == pytest.approx(best, rel=0.01)


def test_one_split_alone_has_columns_of_its_own():
    exp = experiment(data={**WINE, "split": {"train": 1.0}}, steps=2)
    metrics = trained(exp)[0]["metrics"]
    assert list(metrics) == [
        "step",
        "epoch",
        "learning_rate",
        "train_loss",
        "train_accuracy",
        "grad_norm",
        "weight_norm",
    ]


@pytest.mark.parametrize(("loss", "outputs"), [("binary_cross_entropy", 1), ("squared_error", 2)])
def test_two_classes_by_either_loss(loss, outputs):
    exp = experiment(
        data={"type": "xor", "examples": 200, "noise": 0.1, "batch_size": 20},
        model=[{"type": "dense", "units": 16}, "tanh", {"type": "dense", "units": outputs}],
        loss=loss,
        steps=200,
        every=200,
    )
    assert trained(exp)[0]["metrics"]["test_accuracy"][-1] > 0.95


def test_a_model_without_weights_is_refused():
    with pytest.raises(ConfigError, match="has no kernel to train"):
        experiment(data={"type": "gaussian", "examples": 50, "features": 3, "classes": 3}, model=["identity"])
