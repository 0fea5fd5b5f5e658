"""Rounds of pruning: masks and rewinding to the last bit as NumPy has them, what is masked stays 0, and the
first round is the plain training."""

import re

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file
from support import assert_same, experiment_of, tables_of, trained

import nnlab
from nnlab.errors import ConfigError
from nnlab.storage import checkpoints
from nnlab.training.batches import BatchOrder
from nnlab.training.loop import train, train_together
from nnlab.training.pruning import first_round, without_smallest
from nnlab.training.rounds import Rounds
from nnlab.training.state import ResumePoint, array_groups

SGD = {"type": "sgd", "momentum": 0.9, "learning_rate": 0.1}
TREE = {
    "name": "pruned",
    "data": {"type": "wine", "normalize": "standardize", "batch_size": 16},
    "model": [{"type": "dense", "units": 8}, "batch_norm", "tanh", {"type": "dense", "units": 3}],
    "optimizer": SGD,
    "train": {"steps": 12},
    "record": {"every": {"steps": 4}},
}
FRACTIONS = {"dense_1": 0.3, "dense_2": 0.15}
NAMES = ("dense_1", "dense_2")


def pruned(rounds=1, tree=TREE, **keys):
    return experiment_of(tree | {"prune": {"rounds": rounds, "layers": FRACTIONS, **keys}})


def state_at(exp, step):
    """The state at a step of the training at which a chunk ends, on the host."""
    return next(jax.device_get(chunk.state()) for chunk in train(exp) if chunk.step == step)


def end_of(exp):
    return state_at(exp, exp.total_steps)


def first_step(exp, number):
    """The step at which a round begins."""
    return next(leg.first_step for leg in exp.rounds.legs() if leg.round == number)


def smallest_gone(kernel, left, fraction):
    """The mask without the smallest, place by place."""
    places = sorted(np.flatnonzero(left).tolist(), key=lambda place: (abs(kernel.flat[place]), place))
    after = left.copy()
    for place in places[: round(fraction * len(places))]:
        after.flat[place] = False
    return after


def same_bits(found, expected):
    found, expected = np.asarray(found), np.asarray(expected)
    return found.dtype == expected.dtype and found.tobytes() == expected.tobytes()


# --- rounds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "prunings", "rewind"), [(10, 0, 0), (10, 3, 0), (10, 3, 4), (0, 2, 0)])
def test_legs_fill_the_training_and_know_where_they_are(steps, prunings, rewind):
    rounds = Rounds(steps, prunings, rewind)
    numbered = [(0, step) for step in range(steps + 1)]  # the round and its step, at each step
    for number in range(1, prunings + 1):
        numbered += [(number, step) for step in range(rewind, steps + 1)]
    assert rounds.total_steps == len(numbered) - 1
    assert rounds.records([0, 4, steps]) == 3 + prunings * (2 + (rewind == 0))
    for step, place in enumerate(numbered):
        leg = rounds.legs(step)[0]
        assert (leg.round, leg.start) == place
        assert leg.first_step == step
        if leg.until > leg.start:
            assert numbered[step + 1][0] == leg.round


def test_what_goes_are_the_smallest_that_are_left_the_first_of_equals():
    left = np.array([[True, True, False], [True, True, True]])
    sizes = np.array([[2.0, 1.0, 0.0], [1.0, 3.0, 1.0]])
    np.testing.assert_array_equal(without_smallest(left, sizes, 0.4), [[1, 0, 0], [0, 1, 1]])
    np.testing.assert_array_equal(without_smallest(left, sizes, 0.09), left)


# --- against the plain training and NumPy ----------------------------------------------------------------


@pytest.mark.parametrize("keys", [{"rounds": 0}, {"rounds": 2}, {"rounds": 2, "criterion": "one_shot"}])
def test_the_first_round_is_the_plain_training(keys):
    plain, _ = trained(experiment_of(TREE))
    found, _ = trained(pruned(**keys))
    metrics = found["metrics"]
    rows = metrics["round"] == 0
    first = {name: values[rows] for name, values in metrics.items() if name in plain["metrics"]}
    layers = {name: values[: len(plain["layers"]["step"])] for name, values in found["layers"].items()}
    assert_same({"metrics": first, "layers": layers}, plain)
    assert (metrics["weights_left"][rows] == 1).all()


@pytest.mark.parametrize("rewind", [0, 5])
def test_masks_and_weights_are_numpy_s_to_the_last_bit(rewind):
    """Those of round r come from the end of a training of r - 1 rounds."""
    begin = state_at(experiment_of(TREE | {"train": {"steps": 5}}), 5) if rewind else None
    params, layer_state = (begin.params, begin.layer_state) if rewind else experiment_of(TREE).first_weights()
    before = end_of(experiment_of(TREE))
    masks = {name: np.ones(params[name]["kernel"].shape, bool) for name in NAMES}
    for number in (1, 2, 3):
        exp = pruned(number, rewind=rewind)
        state = state_at(exp, first_step(exp, number))
        for name in NAMES:
            masks[name] = smallest_gone(before.params[name]["kernel"], masks[name], FRACTIONS[name])
            np.testing.assert_array_equal(state.mask[f"{name}/kernel"], masks[name])
            expected = np.where(masks[name], params[name]["kernel"], np.float32(0))
            assert same_bits(state.params[name]["kernel"], expected)
            assert same_bits(state.params[name]["bias"], params[name]["bias"])
        for name, values in layer_state["batch_norm_1"].items():
            assert same_bits(state.layer_state["batch_norm_1"][name], values)
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(state.optimizer_state))
        assert int(state.step) == rewind
        before = end_of(exp)
        left = sum(mask.sum() for mask in masks.values()) / sum(mask.size for mask in masks.values())
        found = trained(exp)[0]["metrics"]["weights_left"][-1]
        assert found == pytest.approx(left, rel=1e-6)


def test_a_round_equals_numpy_step_by_step():
    """Softmax regression: from step 5 of the first round on, with the same examples, momentum anew."""
    tree = TREE | {"model": [{"type": "dense", "units": 3}], "record": {"every": {"steps": 1}}}
    exp = pruned(1, tree, layers={}, fraction=0.4, rewind=5)
    state, rows = state_at(exp, 13), BatchOrder(exp).rows(0, 12)
    left = state.mask["dense_1/kernel"]
    w = {name: array.astype(np.float64) for name, array in state.params["dense_1"].items()}
    train_set, velocity, losses = exp.data.train, {name: 0 * array for name, array in w.items()}, []
    for step in range(5, 13):
        losses.append(-log_softmax(train_set.inputs, w)[range(len(train_set)), train_set.targets].mean())
        if step < 12:
            batch = train_set.take(rows[step])
            error = (np.exp(log_softmax(batch.inputs, w)) - np.eye(3)[batch.targets]) / len(batch)
            gradients = {"kernel": left * (batch.inputs.T @ error), "bias": error.sum(0)}
            for name, gradient in gradients.items():
                velocity[name] = 0.9 * velocity[name] + gradient
                w[name] -= 0.1 * velocity[name]
    metrics = trained(exp)[0]["metrics"]
    second = metrics["round"] == 1
    np.testing.assert_array_equal(metrics["round_step"][second], range(5, 13))
    np.testing.assert_allclose(metrics["train_loss"][second], losses, rtol=2e-5)


def log_softmax(inputs, w):
    logits = inputs @ w["kernel"] + w["bias"]
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


OPTIMIZERS = {
    "momentum": {"type": "sgd", "momentum": 0.9, "learning_rate": 0.1, "nesterov": True},
    "adamw": {"type": "adamw", "learning_rate": 0.01, "weight_decay": 0.1},
    "muon mixes rows": {"type": "muon", "learning_rate": 0.02},
    "sam looks elsewhere": {"type": "sam", "radius": 0.1, "optimizer": SGD},
    "average": {"type": "moving_average", "decay": 0.8, "optimizer": SGD},
    "schedule_free": {"type": "schedule_free", "optimizer": {"type": "muon", "learning_rate": 0.02}},
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_what_is_masked_stays_0(optimizer):
    tree = TREE | {"optimizer": optimizer, "regularizers": [{"type": "l2", "strength": 0.01}]}
    with jax.numpy_dtype_promotion("standard"):
        exp = pruned(2, tree | {"constraints": [{"type": "max_norm", "limit": 1.0}]})
        state = end_of(exp)
    for name in NAMES:
        left = state.mask[f"{name}/kernel"]
        for weights in (state.params, state.evaluated):
            assert (weights[name]["kernel"][~left] == 0).all()
            assert (weights[name]["kernel"][left] != 0).all()


# --- which go, and what the last round trains ------------------------------------------------------------


def test_a_weight_of_each_kernel_is_left():
    assert without_smallest(np.ones(2, bool), np.array([2.0, 1.0]), 0.99).tolist() == [True, False]
    assert without_smallest(np.array([False, True]), np.array([2.0, 1.0]), 0.99).tolist() == [False, True]


def test_one_shot_prunes_as_if_once():
    sizes = end_of(experiment_of(TREE)).params
    exp = pruned(3, criterion="one_shot")
    state = end_of(exp)
    for name in NAMES:
        left = np.ones(sizes[name]["kernel"].shape, bool)
        for _ in range(3):
            left = smallest_gone(sizes[name]["kernel"], left, FRACTIONS[name])
        np.testing.assert_array_equal(state.mask[f"{name}/kernel"], left)
    assert any((end_of(pruned(3)).mask[name] != left).any() for name, left in state.mask.items())


def test_at_random_others_go_with_each_seed_and_nothing_comes_back():
    once, twice = (end_of(pruned(rounds, criterion="random")).mask for rounds in (1, 2))
    other = end_of(pruned(1, TREE | {"seed": 1}, criterion="random")).mask
    for name, left in once.items():
        assert left.sum() == left.size - round(FRACTIONS[name.split("/")[0]] * left.size)
        assert (twice[name] <= left).all()
    assert (once["dense_1/kernel"] != other["dense_1/kernel"]).any()


def test_fine_tuning_goes_on_from_the_weights_as_they_are():
    trained_once = end_of(experiment_of(TREE)).params
    state = state_at(pruned(1, rewind=None), 13)
    for name in NAMES:
        left = smallest_gone(
            trained_once[name]["kernel"], np.ones_like(state.mask[f"{name}/kernel"]), FRACTIONS[name]
        )
        assert same_bits(
            state.params[name]["kernel"], np.where(left, trained_once[name]["kernel"], np.float32(0))
        )
        assert same_bits(state.params[name]["bias"], trained_once[name]["bias"])
    assert state.memory == ((), {})


def test_the_last_round_is_of_the_ticket_or_a_twin():
    begin = {kind: state_at(pruned(2, last_round=kind), 26) for kind in ("ticket", "redrawn", "shuffled")}
    first, _ = experiment_of(TREE).first_weights()
    ticket = begin["ticket"]
    for name in NAMES:
        path = f"{name}/kernel"
        redrawn, shuffled = (begin[kind].params[name]["kernel"] for kind in ("redrawn", "shuffled"))
        np.testing.assert_array_equal(begin["redrawn"].mask[path], ticket.mask[path])
        assert (redrawn[ticket.mask[path]] != first[name]["kernel"][ticket.mask[path]]).all()
        assert (redrawn[~ticket.mask[path]] == 0).all()
        assert begin["shuffled"].mask[path].sum() == ticket.mask[path].sum()
        assert same_bits(
            shuffled, np.where(begin["shuffled"].mask[path], first[name]["kernel"], np.float32(0))
        )
    assert (begin["shuffled"].mask["dense_1/kernel"] != ticket.mask["dense_1/kernel"]).any()
    spread = [begin[kind].params["dense_1"]["kernel"].std() for kind in ("ticket", "redrawn")]
    assert 0.4 < spread[0] / spread[1] < 2.5, "drawn as the first ones are"


def test_frozen_layers_are_left_alone():
    frozen = {**SGD, "groups": [{"layers": "dense_1", "frozen": True}]}
    exp = pruned(1, TREE | {"optimizer": frozen}, layers={}, last_round="redrawn")
    state = end_of(exp)
    assert list(state.mask) == ["dense_2/kernel"]
    assert same_bits(state.params["dense_1"]["kernel"], exp.first_weights()[0]["dense_1"]["kernel"])


# --- going on, side by side, what comes out --------------------------------------------------------------


@pytest.mark.parametrize(
    "keys", [{"rewind": 5}, {"criterion": "one_shot"}, {"rewind": None, "criterion": "random"}]
)
def test_a_training_goes_on_from_wherever_it_was(keys):
    exp = pruned(2, **keys)
    chunks, points = [], []
    for chunk in train(exp):
        chunks.append(chunk)
        points.append(
            {group: named() for group, named in array_groups(jax.device_get(chunk.state())).items()}
        )
    whole = tables_of(chunks)
    assert len(chunks) >= 4
    for number, arrays in enumerate(points[:-1]):
        resumed = train(pruned(2, **keys), ResumePoint(chunks[number].step, lambda arrays=arrays: arrays))
        assert_same(tables_of([*chunks[: number + 1], *resumed]), whole)


def test_lanes_are_the_trainings_by_themselves():
    lanes = [
        pruned(2, last_round=kind, fraction=0.4, layers={}) for kind in ("ticket", "redrawn", "shuffled")
    ]
    lanes.append(pruned(2, TREE | {"seed": 3}))
    together = {n: [] for n in range(len(lanes))}
    for chunks in train_together(lanes):
        for n, chunk in chunks.items():
            together[n].append(chunk)
    for n, lane in enumerate(lanes):
        alone, _ = trained(lane)
        found = tables_of(together[n])
        for column, values in alone["metrics"].items():
            np.testing.assert_allclose(found["metrics"][column], values, rtol=2e-4, atol=1e-6, err_msg=column)
        state = together[n][-1].state()
        for name, left in end_of(lane).mask.items():
            np.testing.assert_array_equal(state.mask[name], left)


def test_a_run_returns_what_is_left_and_its_summary_is_of_the_last_round(tmp_path):
    prune = {"rounds": 3, "fraction": 0.6}
    run = nnlab.train(nnlab.experiment(TREE | {"prune": prune}), tmp_path / "run", plots=False)
    newest = checkpoints.newest(tmp_path / "run" / "checkpoints", None, lambda _: "", print)
    for name, left in newest.arrays()["mask"].items():
        np.testing.assert_array_equal(run.weights()[name] != 0, left)
    last = run.metrics[run.metrics["round"] == 3]
    assert run.summary["step"] == run.metrics["step"].iloc[-1] == 3 * 13 + 12
    assert run.metrics["step"].is_monotonic_increasing
    assert run.summary["final"]["weights_left"] == last["weights_left"].iloc[-1]
    assert run.summary["best"]["train_loss"] == last["train_loss"].min() > run.metrics["train_loss"].min()
    assert run.summary["selected"]["round"] == 3


# --- a mask that is given --------------------------------------------------------------------------------


def test_a_given_mask_is_there_from_the_first_step_on(tmp_path):
    """Of a file, and of a run; its twin with `rounds: 0` trains as the run's last round."""
    run = nnlab.train(
        nnlab.experiment(TREE | {"prune": {"rounds": 2, "layers": FRACTIONS}}), tmp_path / "run"
    )
    mask = checkpoints.newest(run.path / "checkpoints", None, lambda _: "", lambda _: None).arrays()["mask"]
    save_file(mask, tmp_path / "mask.safetensors")
    last = end_of(pruned(2))
    for source in (run.path, tmp_path / "mask.safetensors"):
        exp = pruned(0, mask=str(source))
        table, _ = trained(exp)
        kernels, _ = exp.first_weights()
        found = state_at(exp, 12)
        for name in NAMES:
            assert same_bits(found.mask[f"{name}/kernel"], mask[f"{name}/kernel"])
            assert same_bits(found.params[name]["kernel"], last.params[name]["kernel"])
            left = first_round(exp).params[name]["kernel"]
            assert same_bits(left, np.where(mask[f"{name}/kernel"], kernels[name]["kernel"], np.float32(0)))
        shares = [m.mean() * m.size for m in mask.values()]
        total = sum(m.size for m in mask.values())
        assert table["metrics"]["weights_left"] == pytest.approx(np.full(4, sum(shares) / total))


def test_a_run_answers_without_the_run_that_its_mask_is_of(tmp_path):
    mask = {"dense_1/kernel": np.eye(13, 8) < 1, "dense_2/kernel": np.eye(8, 3) < 1}
    save_file(mask, tmp_path / "mask.safetensors")
    config = nnlab.experiment(TREE | {"prune": {"rounds": 0, "mask": str(tmp_path / "mask.safetensors")}})
    runs = [nnlab.train(config, tmp_path / name) for name in ("run", "twin")]
    (tmp_path / "mask.safetensors").unlink()
    inputs = nnlab.experiment(TREE).build().data.load(0).test.inputs
    assert np.array_equal(*(nnlab.open(run.path).predict(inputs) for run in runs))
    table = nnlab.interpolate(*runs, points=2)
    assert table["train_loss"].tolist() == pytest.approx([run.summary["final"]["train_loss"] for run in runs])


def test_rounds_prune_on_from_a_given_mask(tmp_path):
    mask = {
        f"dense_{n}/kernel": np.arange(8 * w).reshape(shape) % 2 == 0
        for n, w, shape in ((1, 13, (13, 8)), (2, 3, (8, 3)))
    }
    save_file(mask, tmp_path / "half.safetensors")
    exp = pruned(1, mask=str(tmp_path / "half.safetensors"))
    before, after = state_at(exp, 12), end_of(exp)
    for name in NAMES:
        kernel = np.asarray(before.params[name]["kernel"])
        expected = smallest_gone(kernel, mask[f"{name}/kernel"], FRACTIONS[name])
        assert same_bits(after.mask[f"{name}/kernel"], expected)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"dense_1/kernel": np.ones((13, 8), bool)}, "has no mask of 'dense_2/kernel'"),
        ({"dense_9/kernel": np.ones(3, bool)}, "'dense_9/kernel' is no kernel that is trained; there are"),
        (
            {"dense_1/kernel": np.ones((13, 8), np.float32), "dense_2/kernel": np.ones((8, 3), bool)},
            "is float32 [13, 8]; it takes bool [13, 8]",
        ),
        (
            {"dense_1/kernel": np.zeros((13, 8), bool), "dense_2/kernel": np.ones((8, 3), bool)},
            "leaves no weight of 'dense_1/kernel'",
        ),
        (None, "there is no '"),
    ],
)
def test_a_mask_of_another_model_is_refused(tmp_path, arrays, says):
    if arrays is not None:
        save_file(arrays, tmp_path / "mask.safetensors")
    with pytest.raises(ConfigError, match=re.escape(says)) as caught:
        pruned(0, mask=str(tmp_path / "mask.safetensors"))
    assert "prune.mask" in str(caught.value)


def test_a_run_that_was_not_pruned_has_none(tmp_path):
    run = nnlab.train(nnlab.experiment(TREE), tmp_path / "plain")
    with pytest.raises(ConfigError, match="no checkpoint to take a mask from"):
        pruned(0, mask=str(run.path))


# --- mistakes --------------------------------------------------------------------------------------------

FILE = """\
name: pruned
data: {type: wine, batch_size: 16}
model: [{type: dense, units: 3}]
train: {steps: 12}
prune: {rounds: 2}
"""
MISTAKES = {
    "{rounds: 2, §rewind: 12}": "is 12, and a round ends at step 12; let it be smaller",
    "{rounds: 2, layers: {§dense_2: 0.1}}": "no layer with a kernel that is trained is 'dense_2'; did",
    "{§rounds: -1}": "takes a whole number >= 0",
    "{rounds: 2, §fraction: 1.0}": "takes a number > 0 and < 1",
    "{rounds: 2, §criterion: size}": "takes magnitude, one_shot or random",
    "{rounds: 2, §criterium: random}": "did you mean 'criterion'?",
}


@pytest.mark.parametrize("value", MISTAKES)
def test_mistakes_are_told_where_they_are(value, folder, marked, nnlab):
    text, places = marked(FILE.replace("{rounds: 2}", value))
    (folder / "file.yaml").write_text(text)
    result = nnlab("validate", "file.yaml")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert MISTAKES[value] in result.stderr
    assert f"file.yaml:{places[0]}" in result.stderr


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (
            {"train": {"steps": 12, "stop": [{"type": "early_stopping", "metric": "train_loss"}]}},
            "train.stop: would end a training of several rounds within one of them; leave out 'stop' or",
        ),
        (
            {"optimizer": None, "train": None, "solver": "least_squares", "loss": "squared_error"},
            "prune: a solver",
        ),
    ],
)
def test_what_goes_with_no_rounds_is_refused(keys, says):
    with pytest.raises(ConfigError, match=says):
        pruned(2, TREE | keys)
