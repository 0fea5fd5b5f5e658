"""Phenomena of one run, on constructed tables and tiny runs: yes where it should be, no to a control."""

import functools
import json
import math

import numpy as np
import pandas
import pytest
from support import FakeRun, FakeSweep, assert_labelled, assert_told_apart, figure_for_people, run_nnlab

from nnlab.config import check_tree
from nnlab.config.document import Document
from nnlab.errors import ConfigError, InvalidValue, UsageError
from nnlab.phenomena.generalization import overfitting
from nnlab.phenomena.optimization import learning_rate_range, training_mode, trajectories, trajectory
from nnlab.phenomena.signal import incoming_norms, sparsity
from nnlab.runs import figures
from nnlab.runs.labels import with_distinct_labels
from nnlab.runs.results import open_run, open_sweep
from nnlab.runs.run import run
from nnlab.storage.run_directory import RunDirectory
from nnlab.training.experiment import build_experiment

pytestmark = pytest.mark.usefixtures("sweeps_here")

NET = [{"type": "dense", "units": 8}, "tanh", {"type": "dense", "units": 3}]
WINE = {"type": "wine", "normalize": "standardize", "batch_size": "full"}
NEAR_ZERO = {"type": "sparsity", "below": 0.01}
RAVINE = {"data": {"type": "ravine", "condition": 10.0, "angle": 30.0, "batch_size": "full"}} | {
    "model": [{"type": "dense", "units": 1, "use_bias": False}],
    "loss": "squared_error",
    "train": {"steps": 40},
    "phenomena": ["trajectory"],
}
RANGE = {
    "data": {"type": "wine", "normalize": "standardize", "batch_size": 16},
    "optimizer": {"type": "sgd", "learning_rate": {"type": "range_test", "low": 1e-5, "high": 1e5}},
    "train": {"steps": 200},
    "phenomena": ["learning_rate_range"],
}
RUNS = {
    "plain": {"phenomena": [NEAR_ZERO, "incoming_norms", "training_mode", "overfitting"]},
    "l1": {"regularizers": [{"type": "l1", "strength": 0.05}], "phenomena": [NEAR_ZERO]},
    "l2": {"regularizers": [{"type": "l2", "strength": 0.05}], "phenomena": [NEAR_ZERO]},
    "bounded": {"constraints": [{"type": "max_norm", "limit": 0.7}], "phenomena": ["incoming_norms"]},
    "dropout": {
        "model": [{"type": "dropout", "rate": 0.5}, *NET],
        "optimizer": {"type": "sgd", "learning_rate": 0.05},
        "train": {"steps": 30},
        "phenomena": ["training_mode"],
    },
    "noisy": {
        "data": WINE | {"label_noise": 0.5},
        "model": [{"type": "dense", "units": 60}, "relu", {"type": "dense", "units": 3}],
        "optimizer": {"type": "sgd", "learning_rate": 0.1, "momentum": 0.9},
        "phenomena": ["overfitting"],
    },
    "normalized": {"model": ["batch_norm", *NET], "train": {"steps": 1}},
    "steep": RAVINE | {"optimizer": {"type": "sgd", "learning_rate": 1.8}},
    "gentle": RAVINE | {"optimizer": {"type": "sgd", "learning_rate": 0.5}},
    "beyond": RAVINE | {"optimizer": {"type": "sgd", "learning_rate": 3.0}, "train": {"steps": 200}},
    "round": RAVINE | {"data": {"type": "ravine", "condition": 1.0, "batch_size": "full"}},
    "range": RANGE,
    "range-again": RANGE | {"seed": 1},
    "too-short": RANGE
    | {"optimizer": {"type": "sgd", "learning_rate": {"type": "range_test", "low": 1e-5, "high": 1e-2}}},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """name -> a finished run, trained at the first call."""
    home = tmp_path_factory.mktemp("runs")

    @functools.cache
    def one(name):
        tree = {
            "name": name,
            "data": WINE,
            "model": NET,
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
            "train": {"steps": 200},
            "record": {"every": {"steps": 1}},
            "phenomena": ["sparsity", "incoming_norms"],
            **RUNS[name],
        }
        outcome = run(build_experiment(check_tree(Document(tree, {}, {}, "test"))), RunDirectory(home / name))
        assert outcome.summary["status"] in ("complete", "diverged")
        return open_run(home / name)

    return one


def kernels_of(name, trained):
    """The layers' paths with their first kernels, in float64; None where a layer has none."""
    params = build_experiment(trained(name).config).model.init(0)[0]
    return {
        path: np.asarray(own["kernel"], np.float64) if "kernel" in own else None
        for path, own in params.items()
    }


def first_numbers(model, phenomena, home, **keys):
    """The summary of an experiment of no steps."""
    tree = {"name": "t", "data": WINE, "model": model, "train": {"steps": 0}, "phenomena": phenomena, **keys}
    return run(
        build_experiment(check_tree(Document(tree, {}, {}, "test"))), RunDirectory(home / "run")
    ).summary


# --- sparsity --------------------------------------------------------------------------------------------


def test_sparsity_is_of_the_first_and_the_last_record():
    table = pandas.DataFrame({"near_zero_fraction": [0.1, 0.9, 0.4], "largest_weight": [3.0, 2.0, 1.0]})
    assert sparsity.detect(table) == sparsity.Sparsity(0.1, 0.4, 1.0)


def test_fractions_are_those_of_the_weights(trained):
    tables = trained("normalized").tables
    first = tables["layers"].query("step == 0").set_index("layer")["near_zero_fraction"]
    kernels = kernels_of("normalized", trained)
    assert kernels["batch_norm_1"] is None
    assert np.isnan(first["batch_norm_1"])
    weights = [kernels[name] for name in ("dense_1", "dense_2")]
    for name, kernel in zip(("dense_1", "dense_2"), weights, strict=True):
        assert first[name] == pytest.approx((np.abs(kernel) < 1e-3).mean())
    flat = np.abs(np.concatenate([kernel.ravel() for kernel in weights]))
    together = tables["sparsity"].iloc[0]
    assert together["weights"] == flat.size == 13 * 8 + 8 * 3
    assert together["near_zero_fraction"] == pytest.approx((flat < 1e-3).mean())
    assert together["largest_weight"] == pytest.approx(flat.max())


@pytest.mark.parametrize("below", [1e-3, 0.3, 10.0])
def test_all_weights_are_counted_by_size_not_by_layer(below, tmp_path):
    """Layers of 104 and 24 weights, of which one has all weights of 0.1, the other of 0.5."""
    model = [
        {"type": "dense", "units": 8, "kernel_init": {"type": "constant", "value": -0.1}},
        {"type": "dense", "units": 3, "kernel_init": {"type": "constant", "value": 0.5}},
    ]
    found = first_numbers(model, [{"type": "sparsity", "below": below}], tmp_path)["sparsity"]
    assert found["initial_fraction"] == pytest.approx({1e-3: 0.0, 0.3: 104 / 128, 10.0: 1.0}[below])
    assert found["largest_weight"] == pytest.approx(0.5)


def test_l1_makes_weights_zero_and_l2_does_not(trained):
    """A weight that L1 holds at 0 swings about it by the rate 0.1 times the strength 0.05."""
    found = {name: sparsity.detect(trained(name).tables["sparsity"]) for name in ("l1", "l2", "plain")}
    assert found["l1"].final_fraction > 0.4
    assert found["l1"].initial_fraction < 0.1
    assert found["l2"].final_fraction < 0.1
    assert found["plain"].final_fraction < 0.1
    assert found["l2"].largest_weight < found["plain"].largest_weight


# --- incoming norms --------------------------------------------------------------------------------------


def test_the_largest_norm_is_that_after_the_first_step():
    rows = [(0, 9.0), (0, 1.0), (0, None), (5, 4.0), (5, 2.0), (5, None), (10, 3.0), (10, 2.5), (10, None)]
    table = pandas.DataFrame(rows, columns=["step", "incoming_norm"])
    assert incoming_norms.detect(table) == incoming_norms.IncomingNorms(9.0, 4.0, 3.0)


def test_incoming_norms_are_those_of_the_kernels(trained):
    first = trained("normalized").tables["layers"].query("step == 0").set_index("layer")["incoming_norm"]
    for name, kernel in kernels_of("normalized", trained).items():
        if kernel is None:
            assert np.isnan(first[name])
        else:
            assert first[name] == pytest.approx(np.linalg.norm(kernel, axis=0).max(), rel=1e-6)


def test_max_norm_bounds_every_incoming_norm(trained):
    bounded, free = (incoming_norms.detect(trained(name).tables["layers"]) for name in ("bounded", "plain"))
    assert bounded.initial_largest == free.initial_largest > 0.7
    assert bounded.largest <= 0.7
    assert bounded.largest == pytest.approx(0.7, rel=1e-5)
    assert free.largest > 1.0
    assert free.final_largest == free.largest, "it grows"


# --- overfitting -----------------------------------------------------------------------------------------


def losses(train, validation, steps=None):
    steps = steps or list(range(0, 10 * len(train), 10))
    return pandas.DataFrame({"step": steps, "train_loss": train, "validation_loss": validation})


def test_the_numbers_of_a_run_that_overfits():
    found = overfitting.detect(losses([2.0, 1.0, 0.5, 0.1], [2.0, 0.8, 1.0, 1.2]))
    assert found == overfitting.Overfitting(10, 0.8, 1.2, pytest.approx(1.5), pytest.approx(1.1), "overfits")


@pytest.mark.parametrize(
    ("train", "validation", "verdict"),
    [
        ([3, 2, 1, 0.5], [3, 2, 2.1, 2.21], "overfits"),
        ([3, 2, 1, 0.5], [3, 2, 2.1, 2.19], "does not"),  # less than a tenth
        ([3, 2, 1, 0.5], [3, 2, 9.0, 2.0], "does not"),  # and back again
        ([3, 2, 1, 2.1], [3, 2, 2.1, 3.0], "does not"),  # training rises too
        ([3, 2, 1, 0.5], [3, 2, 1.0, 0.9], "does not"),
        ([3, 2, 1, math.nan], [3, 2, 9, math.nan], None),
        ([3, 2, 1, math.inf], [3, 2, 9, math.inf], None),
        ([1, 1, 0.5, 0], [1, 0, 1, 1], "overfits"),
        ([1, 1, 0.5, 0], [1, 0, 0, 0], None),
        ([0, 0, 0], [0, 0, 0], None),
    ],
)
def test_overfitting_on_both_sides_of_each_bound(train, validation, verdict):
    found = overfitting.detect(losses(train, validation))
    assert found.verdict == verdict
    assert verdict is not None or found.reason


@pytest.mark.parametrize("seen", [[math.nan] * 3, [1.0]])
def test_without_two_records_that_are_finite_nothing_overfits(seen):
    with pytest.raises(InvalidValue, match=r"never finite|two records"):
        overfitting.detect(losses(seen, seen))


@pytest.mark.parametrize(("best", "verdict"), [(90, "overfits"), (91, "does not")])
def test_a_best_record_at_the_end_is_no_overfitting(best, verdict):
    found = overfitting.detect(losses([3.0, 2.0, 1.0], [3.0, 1.0, 2.0], steps=[0, best, 100]))
    assert (found.best_step, found.verdict) == (best, verdict)


def test_wrong_labels_are_overfitted_and_a_plain_training_is_not(trained):
    noisy, plain = (trained(name).summary["overfitting"] for name in ("noisy", "plain"))
    assert noisy["verdict"] == "overfits"
    assert noisy["rise"] > 1.5
    assert noisy["gap"] > 0.5
    assert plain["verdict"] == "does not"
    metrics = trained("noisy").tables["metrics"].set_index("step")
    assert metrics["validation_loss"][noisy["best_step"]] == noisy["best_loss"]
    assert metrics["validation_loss"].min() == noisy["best_loss"]


# --- training mode ---------------------------------------------------------------------------------------


def test_means_are_of_the_first_half_without_the_first_record():
    table = losses([9.0, 1.0, 2.0, 7.0], [9.0, 4.0, 6.0, 7.0], steps=[0, 1, 5, 10])
    modes = pandas.DataFrame({"step": [0, 1, 5, 10], "mode": "training", "batch_loss": [9.0, 3.0, 4.0, 7.0]})
    seen = FakeRun({"metrics": table, "training_mode": modes}, {})
    found = training_mode.detect(training_mode.losses_by_step(seen))
    assert found == training_mode.TrainingMode(3.5, 1.5, 5.0, -1.5, 2.0)


def test_dropout_makes_training_look_worse_and_without_it_the_modes_agree(trained):
    """The batch is all training examples, so that the mode is all that tells the two losses apart."""
    dropout, plain = (trained(name).summary["training_mode"] for name in ("dropout", "plain"))
    assert dropout["gap_to_evaluation"] > 0.1
    assert dropout["gap_to_validation"] > 0.1
    assert plain["gap_to_evaluation"] == pytest.approx(0, abs=1e-6)
    assert plain["gap_to_validation"] < 0.1


def test_the_numbers_are_null_where_no_record_is_in_the_first_half(tmp_path):
    found = first_numbers(NET, ["training_mode", "incoming_norms"], tmp_path)
    assert {value for name, value in found["training_mode"].items() if name != "reason"} == {None}
    assert found["training_mode"]["reason"].startswith("no record lies in the first half")
    assert found["incoming_norms"]["largest"] is None
    assert found["incoming_norms"]["reason"] == "there is no record after step 0"


@pytest.mark.parametrize("name", ["overfitting", "training_mode"])
def test_what_needs_validation_examples_says_so(name, tmp_path):
    with pytest.raises(ConfigError, match=r"give data\.split a validation share"):
        first_numbers(NET, [name], tmp_path, data=WINE | {"split": {"train": 0.8, "test": 0.2}})


# --- trajectory ------------------------------------------------------------------------------------------


def descent(rate, start, steps, condition=10.0, angle=30.0):
    """Gradient descent on the ravine in closed form: w_t - 1 = (1 - rate H)^t (w_0 - 1)."""
    turn = math.radians(angle)
    axes = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    factors = 1 - rate * np.array([1, 1 / condition])
    away = axes.T @ (start - 1)
    return 1 + np.stack([axes @ (factors**t * away) for t in range(steps + 1)])


@pytest.mark.parametrize(("name", "rate", "turns"), [("steep", 1.8, 31), ("gentle", 0.5, 0)])
def test_gradient_descent_on_a_ravine_in_closed_form(trained, name, rate, turns):
    """Across the valley w moves by (1 - rate)^t: to and fro at 1.8, for 1 + log(1000) / log(1 / 0.8) = 31
    moves of those that count; straight in at 0.5."""
    one = trained(name)
    weights = one.tables["trajectory"][["w_1", "w_2"]].to_numpy(float)
    expected = descent(rate, weights[0], 40)
    np.testing.assert_allclose(weights, expected, atol=1e-5)
    found = one.summary["trajectory"]
    length = np.linalg.norm(np.diff(expected, axis=0), axis=1).sum()
    assert found["length"] == pytest.approx(length, rel=1e-5)
    distance = np.linalg.norm(expected[-1] - expected[0])
    assert found["straightness"] == pytest.approx(distance / length, rel=1e-5)
    assert found["turns"] == pytest.approx(turns, abs=1)
    assert found["final_distance"] == pytest.approx(np.linalg.norm(expected[-1] - 1), abs=1e-5)
    assert found["final_loss"] == one.tables["metrics"]["train_loss"].iloc[-1]


def test_a_ravine_makes_gradient_descent_zigzag_and_a_round_bowl_does_not(trained):
    steep, gentle, bowl = (trained(name).summary["trajectory"] for name in ("steep", "gentle", "round"))
    assert steep["turns"] > 20
    assert steep["straightness"] < 0.5 < gentle["straightness"]
    assert (bowl["turns"], bowl["straightness"]) == (0, pytest.approx(1.0, abs=1e-5))


def test_the_surface_is_the_loss_everywhere(trained):
    one = trained("steep")
    surface = trajectory.read_surface(one.tables["surface"])
    np.testing.assert_allclose(np.linalg.eigvalsh(surface.curvature), [0.1, 1.0], rtol=1e-6)
    np.testing.assert_allclose(surface.nearest_minimum(np.array([5.0, -3.0])), [1.0, 1.0], atol=1e-5)
    weights = trajectory.read_weights(one.tables["trajectory"])
    np.testing.assert_allclose(surface(weights), one.tables["metrics"]["train_loss"], atol=1e-6)


def test_of_a_valley_without_a_slope_along_it_the_nearest_minimum_counts():
    surface = trajectory.Surface(0.5, np.array([-1.0, 0.0]), np.array([[1.0, 0.0], [0.0, 0.0]]))
    np.testing.assert_allclose(surface.nearest_minimum(np.array([3.0, 7.0])), [1.0, 7.0])
    assert surface(np.array([[1.0, 7.0], [3.0, 0.0]])).tolist() == [0.0, 2.0]


def test_a_path_that_does_not_move_has_no_straightness():
    tables = {
        "trajectory": pandas.DataFrame({"w_1": [1.0, 1.0], "w_2": [2.0, 2.0]}),
        "surface": pandas.DataFrame(
            dict.fromkeys(("loss", "slope_1", "slope_2", "curvature_12"), 0.0), index=[0]
        ).assign(curvature_11=1.0, curvature_22=1.0),
        "metrics": pandas.DataFrame({"train_loss": [1.0, 1.0]}),
    }
    found = trajectory.detect(FakeRun(tables, {}))
    expected = trajectory.Trajectory(0.0, None, None, pytest.approx(5**0.5), 1.0, "the weights do not move")
    assert found == expected


@pytest.mark.parametrize(
    ("moves", "turns"),
    [
        ([], 0),
        ([1.0], 0),
        ([1.0, 2.0, 3.0], 0),
        ([1.0, -1.0, 1.0, -1.0], 3),
        ([1.0, 0.0, -1.0], 1),
        ([1.0, -1e-4, 1.0], 0),  # may be rounding
        ([1.0, 0.5, -1e-2, -1e-2, 1e-2], 2),
    ],
)
def test_turns_are_changes_of_sign(moves, turns):
    assert trajectory.count_turns(np.array(moves)) == turns


@pytest.mark.parametrize(
    "changes",
    [
        {"model": [{"type": "dense", "units": 1}]},
        {"model": [{"type": "dense", "units": 1, "use_bias": False}, "tanh"]},
        {"model": [{"type": "dense", "units": 2, "use_bias": False}, {"type": "dense", "units": 1}]},
        {"model": [{"type": "dense", "units": 3, "use_bias": False}], "data": WINE, "loss": "cross_entropy"},
        {
            "data": {"type": "xor", "examples": 20},
            "loss": "binary_cross_entropy",
        },
    ],
)
def test_a_net_of_more_than_two_weights_has_no_trajectory(changes):
    with pytest.raises(ConfigError, match="trajectory is of two weights: one dense layer") as caught:
        build_experiment(check_tree(Document({"name": "t", **RAVINE, **changes}, {}, {}, "test")))
    assert len(caught.value.lines) == 1


# --- trajectories ----------------------------------------------------------------------------------------

PATHS = """\
name: {name}
data: {{type: ravine, condition: 20, angle: 30, batch_size: full}}
model: [{{type: dense, units: 1, use_bias: false}}]
loss: squared_error
train: {{steps: 30}}
record: {{every: {{steps: 1}}}}
phenomena: [trajectory, {{type: trajectories, along: {along}}}]
sweep: {{axes: {{{along}: {values}}}, seeds: 2}}
"""
OPTIMIZERS = (
    "[{type: sgd, learning_rate: 1.8}, {type: sgd, learning_rate: 0.9}, {type: adam, learning_rate: 0.1}]"
)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """(name, along, values) -> a finished sweep, run at the first call."""
    home = tmp_path_factory.mktemp("sweeps")

    @functools.cache
    def one(name, along="optimizer", values=OPTIMIZERS):
        (home / f"{name}.yaml").write_text(PATHS.format(name=name, along=along, values=values))
        words = ("--jobs", 1, "--no-plots", "--quiet")
        result = run_nnlab("sweep", home / f"{name}.yaml", "--out", home / name, *words)
        assert result.exit_code == 0, result.stderr
        return open_sweep(home / name)

    return one


def test_the_straightest_of_medians_over_the_seeds():
    trials = pandas.DataFrame(
        {
            "optimizer.momentum": [0.0, 0.0, 0.0, 0.9, 0.9, 0.9],
            "seed": [0, 1, 2] * 2,
            "trajectory.straightness": [0.1, 0.2, 0.9, 0.6, 0.5, None],
            "trajectory.turns": [30, 28, 1, 4, 3, 0],
        }
    )
    seen = FakeSweep(trials, axes=("optimizer.momentum",))
    found = trajectories.detect(seen, "optimizer.momentum")
    assert found == trajectories.Trajectories("0.9", pytest.approx(0.55), 0.2, 28.0, 3.0)
    still = FakeSweep(trials.assign(**{"trajectory.straightness": np.nan}), axes=seen.axes)
    with pytest.raises(InvalidValue, match="no trial is complete and has moved"):
        trajectories.detect(still, "optimizer.momentum")


def test_a_sweep_of_optimizers_on_a_ravine(swept):
    sweep = swept("optimizers")
    found = sweep.summary["trajectories"]
    assert found["straightest"] != "sgd, learning_rate: 1.8"
    assert found["most_turns"] > 20
    assert found["fewest_turns"] == 0
    assert (
        found["greatest_straightness"]
        == sweep.completed_trials.groupby("optimizer")["trajectory.straightness"].median().max()
    )
    paths = trajectories.first_seeds(sweep, "optimizer")
    assert [path.label for path in paths] == [
        "sgd, learning rate 1.8",
        "sgd, learning rate 0.9",
        "adam, learning rate 0.1",
    ]
    starts = {tuple(path.weights[0]) for path in paths}
    assert len(starts) == 1, "all of the first seed"


def test_few_paths_of_one_surface_share_a_panel_and_others_have_their_own(swept):
    def paths_drawn(sweep):
        drawn = figure_for_people([sweep], "trajectories").axes
        return [sum(line.get_marker() == "o" for line in ax.get_lines()) for ax in drawn]

    assert paths_drawn(swept("conditions", "data.condition", "[2, 20]")) == [1, 1]
    assert paths_drawn(swept("optimizers")) == [3]
    rates = swept("rates", "optimizer.learning_rate", "[0.1, 0.5, 0.9, 1.8]")
    assert paths_drawn(rates) == [1, 1, 1, 1], "more would be crowded"
    extents = {ax.get_xlim() for ax in figures.available([rates])["trajectories"]([rates]).axes}
    assert len(extents) == 1


# --- learning-rate range ---------------------------------------------------------------------------------


def rising(losses, low=1e-4, high=1.0, status="complete"):
    rates = np.geomspace(low, high, len(losses))
    metrics = pandas.DataFrame({"step": range(len(losses)), "learning_rate": rates, "train_loss": losses})
    return FakeRun({"metrics": metrics}, {"status": status})


def valley(rates, least=1e-2, end=0.1):
    """Falls along half a cosine from 2 to 1, over two decades, to the rate `least`, and jumps up at `end`."""
    progress = np.clip(1 + np.log10(rates / least) / 2, 0, 1)
    return np.where(rates < end, 1.5 + 0.5 * np.cos(np.pi * progress), 50.0 * rates / end)


def test_the_rates_of_a_constructed_range():
    rates = np.geomspace(1e-5, 1.0, 501)
    falling = valley(rates) + 0.02 * np.log10(rates / 1e-2) ** 2  # least at 0.01
    found = learning_rate_range.detect(rising(falling, 1e-5))
    assert found.blew_up is True
    assert abs(np.log10(found.turning_rate / 1e-2)) <= 0.1, "as far as is averaged over"
    assert found.suggested_rate == found.turning_rate / 10
    assert found.steepest_rate == pytest.approx(1e-3, rel=0.1), "halfway down the cosine"
    short = learning_rate_range.detect(rising(falling[:301], 1e-5, 1e-2))
    assert (short.blew_up, short.turning_rate) == (False, pytest.approx(1e-2))


@pytest.mark.parametrize(
    ("ending", "status", "blew_up"),
    [
        ([1.0, 1.2], "complete", False),
        ([1.0, 1.3, 1.3], "complete", True),  # a net that died, below its first loss
        ([1.0, 2.1], "complete", True),
        ([1.0, 1.0], "diverged", True),
        ([1.0, math.nan], "diverged", True),
        ([1.0, math.inf], "diverged", True),
        ([1e30, math.nan], "diverged", True),
    ],
)
def test_blowing_up_is_a_quarter_of_the_fall_or_no_number(ending, status, blew_up):
    found = learning_rate_range.detect(rising([2.0, 2.0, 1.9, 1.8, 1.6, 1.4, 1.2, *ending], status=status))
    assert found.blew_up is blew_up
    assert found.turning_rate is not None


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (rising([2.0] * 20, 0.1, 0.1), "does not rise tenfold"),
        (rising([2.0] * 20, 0.1, 0.9), "does not rise tenfold"),
        (rising([2.0] * 20, 1.0, 1e-4), "does not rise tenfold"),
        (rising([2.0] * 4), "does not rise tenfold"),
        (rising([math.nan] * 20), "diverged before"),
        (rising([2.0, 3.0, math.inf], status="diverged"), "diverged before"),
        (FakeRun({"metrics": pandas.DataFrame({"step": [0], "train_loss": [1.0]})}, {}), "closed-form"),
    ],
)
def test_a_rate_that_does_not_rise_has_no_range(seen, reason):
    for look in (learning_rate_range.detect, lambda seen: learning_rate_range.loss_by_rate([seen])):
        with pytest.raises(InvalidValue, match=reason):
            look(seen)


@pytest.mark.parametrize("losses", [[0.0] * 20, [2.0] * 20, [2.0, *np.geomspace(2.0, 1e9, 19)]])
def test_a_loss_that_only_rises_turns_nowhere(losses):
    found = learning_rate_range.detect(rising(losses))
    assert found[:3] == (None, None, None)
    assert found.blew_up == (losses[-1] > 2)
    assert "does not fall" in found.reason


@pytest.mark.parametrize("count", [5, 6, 400, 100_000])
def test_averages_are_those_of_the_records_within_reach(count):
    random = np.random.default_rng(0)
    curve = learning_rate_range.read_loss_by_rate(rising(random.uniform(1, 2, count).tolist()))
    places = np.log10(curve.rates)
    for i in (0, 1, count // 2, count - 1):
        within = np.abs(places - places[i]) <= 0.1 + 1e-9
        assert curve.averaged[i] == pytest.approx(curve.losses[within].mean())


def test_a_range_test_finds_a_rate_that_trains(trained):
    found = trained("range").summary["learning_rate_range"]
    assert found["blew_up"] is True
    assert 1e-2 < found["steepest_rate"] <= found["turning_rate"] < 1e2
    short = trained("too-short").summary["learning_rate_range"]
    assert short["blew_up"] is False
    assert short["turning_rate"] == pytest.approx(1e-2, rel=0.2), "still falling at the last rate"


# --- figures ---------------------------------------------------------------------------------------------

DRAWN = {
    "sparsity": [["plain"], ["plain", "l1", "l2"]],
    "incoming_norms": [["plain"], ["plain", "bounded"]],
    "overfitting": [["noisy"], ["plain"], ["noisy", "plain"]],
    "training_mode": [["dropout"], ["dropout", "plain"]],
    "trajectory": [["steep"], ["round"], ["steep", "gentle"], ["gentle", "beyond", "round"]],
    "learning_rate_range": [["range"], ["range", "range-again"]],
}


@pytest.mark.parametrize(("figure_name", "names"), [(name, names) for name in DRAWN for names in DRAWN[name]])
def test_figures_are_labelled_and_the_same_bytes_twice(trained, figure_name, names, tmp_path):
    runs = [trained(name) for name in names]
    figure = figure_for_people(runs, figure_name)
    assert_labelled(figure)
    assert_told_apart(figure, [run.label for run in with_distinct_labels(runs)])
    first, second = (figures.draw(runs, tmp_path / folder, [figure_name]) for folder in ("one", "two"))
    assert first[0].read_bytes() == second[0].read_bytes()
    assert first[0].stat().st_size > 5000


def test_the_rise_is_what_is_shaded(trained):
    (ax,) = figures.available([trained("noisy")])["overfitting"]([trained("noisy")]).axes
    (shade,) = ax.collections
    corners = shade.get_paths()[0].vertices
    found = trained("noisy").summary["overfitting"]
    assert corners[:, 0].min() == found["best_step"]
    assert corners[:, 1].min() == pytest.approx(found["best_loss"])


def test_a_path_that_diverges_does_not_fill_the_figure(trained):
    (ax,) = figures.available([trained("beyond")])["trajectory"]([trained("beyond")]).axes
    start = trajectory.read_weights(trained("beyond").tables["trajectory"])[0]
    assert np.diff(ax.get_xlim())[0] < 10 * np.linalg.norm(start - 1)


def test_a_training_of_a_constant_rate_has_no_figure_of_rates(trained, tmp_path):
    tree = json.loads(json.dumps(RANGE)) | {"optimizer": "sgd", "train": {"steps": 5}, "name": "constant"}
    tree |= {"model": NET, "record": {"every": {"steps": 1}}}
    run(build_experiment(check_tree(Document(tree, {}, {}, "test"))), RunDirectory(tmp_path / "run"))
    one = open_run(tmp_path / "run")
    assert one.summary["learning_rate_range"]["suggested_rate"] is None
    assert [path.stem for path in figures.draw([one], tmp_path / "all")] == ["training_curves"]
    with pytest.raises(UsageError, match="--figure learning_rate_range: the learning rate does not rise"):
        figures.draw([one], tmp_path / "named", ["learning_rate_range"])
