"""Examples drawn anew at each step: those of the data set, the same however a training is cut and resumed."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from support import assert_same, experiment_of, load, tables_of, trained

from nnlab.config.resolve import resolve
from nnlab.errors import ConfigError
from nnlab.phenomena.probe import Batch
from nnlab.registry import build
from nnlab.training import segments
from nnlab.training.batches import BatchOrder
from nnlab.training.chunk import FRESH_KEY
from nnlab.training.loop import train, train_together
from nnlab.training.state import ResumePoint, array_groups

PARITY = {"type": "sparse_parity", "features": 6, "relevant": 2, "examples": 40, "test_examples": 30}
COUNT = 20_000


def experiment(seed=0, steps=14, **keys):
    return experiment_of(
        {
            "name": "fresh",
            "seed": seed,
            "data": {**PARITY, "batch_size": 8, "fresh": True},
            "model": [{"type": "dense", "units": 5}, "tanh", {"type": "dense", "units": 1}],
            "loss": "hinge",
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
            "train": {"steps": steps},
            "record": {"every": {"steps": 3}},
            **keys,
        }
    )


def drawn(config, count=COUNT, key=0):
    plan = build("dataset", resolve("dataset", {**config, "fresh": True}, (), []))
    return Batch(*map(np.asarray, jax.jit(plan.fresh, static_argnums=1)(jax.random.key(key), count)))


# --- what is drawn ---------------------------------------------------------------------------------------


def test_parities_are_signs_with_the_class_of_their_product():
    inputs, labels = drawn(PARITY)
    assert inputs.dtype == np.float32
    assert set(np.unique(inputs)) == {-1.0, 1.0}
    np.testing.assert_array_equal(labels, inputs[:, 0] * inputs[:, 1] == 1)
    assert abs(inputs.mean(0)).max() < 4 / np.sqrt(COUNT)
    assert abs(np.corrcoef(inputs.T) - np.eye(6)).max() < 4.5 / np.sqrt(COUNT)


@pytest.mark.parametrize(
    "config",
    [
        PARITY,
        {"type": "xor", "noise": 0.3},
        {"type": "sparse_features", "features": 4, "density": 0.3},
    ],
    ids=lambda config: config["type"],
)
def test_they_are_of_the_distribution_of_those_that_are_loaded(config):
    """Mean and covariance of inputs and targets agree within five standard errors, and so do the ranks."""
    loaded = load({**config, "examples": COUNT, "split": {"train": COUNT}}).train
    fresh = drawn(config)
    assert (fresh.inputs.shape, fresh.targets.shape) == (loaded.inputs.shape, loaded.targets.shape)
    assert (fresh.inputs.dtype, fresh.targets.dtype) == (np.float32, loaded.targets.dtype)
    tables = [
        np.concatenate([np.asarray(part.inputs), part.targets.reshape(COUNT, -1)], 1).astype(float)
        for part in (fresh, loaded)
    ]
    products = [(table[:, :, None] * table[:, None, :]).reshape(COUNT, -1) for table in tables]
    for first, second in (tables, products, [table**3 for table in tables]):
        error = np.sqrt((first.var(0) + second.var(0)) / COUNT)
        assert (abs(first.mean(0) - second.mean(0)) <= 5 * error + 1e-12).all()


# --- how it is trained on --------------------------------------------------------------------------------


def test_each_step_has_the_examples_of_its_key():
    exp = experiment(steps=4, model=[{"type": "dense", "units": 1, "use_bias": False}], loss="hinge")
    found, chunks = trained(exp)
    assert BatchOrder(exp).rows(0, 4).shape == (4, 0)
    weights = exp.first_weights()[0]["dense_1"]["kernel"].astype(float)
    for step in range(4):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), step), FRESH_KEY)
        inputs, labels = map(np.asarray, exp.plan.data.fresh(key, 8))
        signs = np.where(labels == 1, 1.0, -1.0)
        outside = signs * (inputs @ weights)[:, 0] < 1
        weights = weights + 0.1 * (outside * signs @ inputs)[:, None] / 8
    np.testing.assert_allclose(chunks[-1].state().params["dense_1"]["kernel"], weights, rtol=1e-5, atol=1e-7)
    assert len(found["metrics"]["step"]) == 3


@pytest.mark.parametrize("phenomena", [[], ["gradient_flow"]], ids=["plain", "observed"])
def test_how_a_training_is_cut_changes_nothing(phenomena, monkeypatch):
    whole, _ = trained(experiment(phenomena=phenomena))
    monkeypatch.setattr(segments, "CHUNK_SECONDS", 0.0)
    monkeypatch.setattr(segments, "MAXIMUM_FIRST_STEPS", 1)
    cut, chunks = trained(experiment(phenomena=phenomena))
    assert len(chunks) > 5
    assert_same(cut, whole)


def test_it_goes_on_where_it_was(monkeypatch):
    monkeypatch.setattr(segments, "MAXIMUM_FIRST_STEPS", 3)
    chunks = train(experiment())
    first = next(chunks)
    assert 0 < first.step < 14
    groups = {name: arrays() for name, arrays in array_groups(first.state()).items()}
    whole = list(chunks)
    rest = list(train(experiment(), ResumePoint(first.step, lambda: groups)))
    last, other = (jax.tree.leaves(parts[-1].state().params) for parts in (whole, rest))
    for one, two in zip(last, other, strict=True):
        np.testing.assert_array_equal(one, two)


def test_lanes_of_other_seeds_have_examples_of_their_own():
    lanes = [experiment(seed) for seed in (0, 1)]
    assert lanes[0].program_key == lanes[1].program_key
    chunks = [[], []]
    for found in train_together(lanes):
        for lane, chunk in found.items():
            chunks[lane].append(chunk)
    for lane, parts in zip(lanes, chunks, strict=True):
        alone, together = trained(lane)[0]["metrics"], tables_of(parts)["metrics"]
        np.testing.assert_allclose(together["train_loss"], alone["train_loss"], rtol=2e-5)


ON_DEVICES = """
import nnlab
tree = {
    "name": "fresh",
    "data": {"type": "xor", "fresh": True, "batch_size": 24},
    "model": [{"type": "dense", "units": 6}, "tanh", {"type": "dense", "units": 2}],
    "record": {"every": {"steps": 10}, "layers": False},
}
for devices in (1, 2):
    config = nnlab.experiment({**tree, "train": {"steps": 40, "devices": devices}})
    print(nnlab.train(config, str(devices), plots=False).metrics["train_loss"].tolist())
"""


def test_several_devices_have_each_its_part_of_the_same_examples(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", ON_DEVICES],
        cwd=tmp_path,
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    one, two = map(json.loads, done.stdout.splitlines())
    assert one[-1] < one[0]
    np.testing.assert_allclose(two, one, rtol=1e-5)


def test_a_batch_may_be_larger_than_the_sample_that_is_evaluated():
    found = experiment(data={**PARITY, "batch_size": 1000, "fresh": True})
    assert (found.batch_size, found.steps_per_epoch, len(found.data.train)) == (1000, 1, 40)
    [*_, last] = train(experiment(steps=3, data={**PARITY, "batch_size": 1000, "fresh": True}))
    [*_, small] = train(experiment(steps=3, data={**PARITY, "batch_size": 40, "fresh": True}))
    kernels = [chunk.state().params["dense_1"]["kernel"] for chunk in (last, small)]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-4


def test_a_full_batch_is_one_of_as_many_fresh_examples():
    exp = experiment(data={**PARITY, "batch_size": "full", "fresh": True})
    losses = trained(exp)[0]["metrics"]["train_loss"]
    fixed = trained(experiment(data={**PARITY, "batch_size": "full"}))[0]["metrics"]["train_loss"]
    assert losses[0] == fixed[0]
    assert losses[-1] != fixed[-1]


# --- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"data": {"type": "wine", "fresh": True}}, r"data.fresh: this data set has no examples but those"),
        (
            {"data": {**PARITY, "fresh": True, "normalize": "standardize"}},
            r"data.normalize: is of examples that",
        ),
        ({"data": {**PARITY, "fresh": True, "label_noise": 0.1}}, r"data.label_noise: is of examples that"),
        ({"data": {**PARITY, "fresh": True, "keep_classes": [0, 1]}}, r"data.keep_classes: is of examples"),
        (
            {"data": {**PARITY, "fresh": True, "order": {"from_step": 1, "seed": 0}}},
            r"data.order: is of examples",
        ),
        ({"data": {**PARITY, "fresh": True, "reconstruct": True}}, r"data.reconstruct: is of examples"),
        (
            {
                "train": {"steps": 3, "cache_frozen": True},
                "optimizer": {"type": "sgd", "groups": [{"layers": "dense_1", "frozen": True}]},
            },
            r"train.cache_frozen: needs inputs that stay as they are; leave out 'data.fresh'",
        ),
        (
            {"solver": "least_squares", "optimizer": None, "train": None, "loss": "squared_error"},
            r"data.fresh: a solver takes no steps, each with its examples",
        ),
    ],
)
def test_what_cannot_be_fresh_is_refused_in_a_line(keys, message):
    with pytest.raises(ConfigError, match=message) as refused:
        experiment(**keys)
    assert "\n" not in str(refused.value)


def test_a_parity_of_more_features_than_there_are_is_refused():
    with pytest.raises(ConfigError, match=r"data.relevant: 7 features make the class, and there are 6"):
        experiment(data={**PARITY, "relevant": 7})
