"""Averages of the weights: evaluated, returned, kept in checkpoints; against NumPy."""

import jax
import numpy as np
import optax.contrib
import pytest
from support import experiment_of, trained

import nnlab
from nnlab.training.loop import train
from nnlab.training.state import ResumePoint, array_groups

DECAY = 0.8
TREE = {
    "name": "average",
    "data": {"type": "wine", "normalize": "standardize", "batch_size": 16},
    "model": [{"type": "dense", "units": 6}, "tanh", {"type": "dense", "units": 3}],
    "optimizer": {
        "type": "moving_average",
        "decay": DECAY,
        "optimizer": {"type": "sgd", "learning_rate": 0.3},
    },
    "train": {"steps": 9},
    "record": {"every": {"steps": 3}},
}
PLAIN = TREE | {"optimizer": {"type": "sgd", "learning_rate": 0.3}}


FREE = TREE | {
    "optimizer": {
        "type": "schedule_free",
        "optimizer": {"type": "sgd", "learning_rate": 0.3},
        "clip": {"global_norm": 1.0},
        "groups": [{"layers": "dense_1", "frozen": True}],
    }
}


def weights_after(tree, steps):
    """The weights that are evaluated after so many steps, as one row."""
    _, chunks = trained(experiment_of(tree | {"train": {"steps": steps}}))
    layers = chunks[-1].state().evaluated
    return np.concatenate([np.ravel(layers[name][part]) for name in layers for part in ("kernel", "bias")])


def test_it_is_the_average_of_the_weights_after_each_step():
    average = weights_after(PLAIN, 1)
    for steps in range(2, 5):
        average = DECAY * average + (1 - DECAY) * weights_after(PLAIN, steps)
    np.testing.assert_allclose(weights_after(TREE, 4), average, rtol=1e-5, atol=1e-7)
    assert np.abs(weights_after(PLAIN, 4) - average).max() > 1e-2


def test_records_are_of_the_average_and_steps_of_the_weights():
    ours, plain = (trained(experiment_of(tree))[0] for tree in (TREE, PLAIN))
    for column in ("grad_norm", "activation_std"):
        np.testing.assert_allclose(ours["layers"][column], plain["layers"][column], rtol=1e-5)
    found, theirs = ours["metrics"]["train_loss"], plain["metrics"]["train_loss"]
    assert found[0] == pytest.approx(theirs[0], rel=1e-6)
    assert (np.abs(found[1:] - theirs[1:]) > 1e-4).all()


@pytest.mark.parametrize("tree", [TREE, FREE])
def test_a_training_goes_on_with_it(tree):
    """From the arrays of a checkpoint, to the same bits."""
    [*_, first] = train(experiment_of(tree | {"train": {"steps": 6}}))
    arrays = {group: named() for group, named in array_groups(first.state()).items()}
    [*_, resumed] = train(experiment_of(tree), ResumePoint(6, lambda: arrays))
    [*_, whole] = train(experiment_of(tree))
    for part in ("params", "average"):
        found, expected = (jax.tree.leaves(getattr(chunk.state(), part)) for chunk in (resumed, whole))
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("stop", [[], [{"type": "early_stopping", "patience": 50}]])
def test_a_run_returns_it(tmp_path, stop):
    """What predicts has the loss that was recorded."""
    config = nnlab.experiment(TREE | {"train": {"steps": 9, "stop": stop}})
    run = nnlab.train(config, tmp_path / "run")
    raw = nnlab.experiment(TREE | {"data": {"type": "wine"}})  # the run scales what it predicts from
    test = raw.build().data.load(0).splits["test"]
    logits = run.predict(test.inputs)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    recorded = run.summary["selected" if stop else "final"]["test_loss"]
    assert -log_p[range(len(test)), test.targets].mean() == pytest.approx(recorded, rel=1e-5)


def test_the_average_of_schedule_free_is_what_optax_evaluates():
    """x of Defazio et al. 2024; a frozen layer keeps its weights in y and x alike."""
    [*_, last] = train(experiment_of(FREE))
    state = last.state()
    _, free = state.optimizer_state  # the first is that of clipping
    trained_layers = {**state.params, "dense_1": free.z["dense_1"]}
    theirs = optax.contrib.schedule_free_eval_params(free, trained_layers)
    for name, expected in theirs["dense_2"].items():
        np.testing.assert_allclose(state.average["dense_2"][name], expected, rtol=1e-6)
        assert np.abs(expected - state.params["dense_2"][name]).max() > 1e-4
    first, _ = experiment_of(FREE).first_weights()
    for kept in (state.average, state.params):
        assert all(np.array_equal(kept["dense_1"][name], w) for name, w in first["dense_1"].items())
