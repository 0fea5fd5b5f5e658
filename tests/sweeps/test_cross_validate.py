"""`nnlab cross-validate`, and `nnlab plot` of an experiment file."""

import subprocess
import sys

import numpy as np
import pandas
import pytest
import yaml

from nnlab.runs.results import open_run, open_sweep
from nnlab.sweeps.trials import trials_of
from nnlab.training.experiment import build_experiment

pytestmark = pytest.mark.usefixtures("sweeps_here")

SMALL = """\
name: small
data: {type: gaussian, examples: 120, features: 5, classes: 3, split: {test: 20}, batch_size: 10}
model: [{type: dense, units: 12}, tanh, {type: dense, units: 3}]
optimizer: {type: sgd, momentum: 0.9, learning_rate: 0.2}
train: {epochs: 12}
"""


@pytest.fixture
def small(folder):
    (folder / "small.yaml").write_text(SMALL)
    return folder


def test_epochs_are_chosen_on_folds_and_all_of_them_trained_on(small, nnlab):
    outcome = nnlab(
        "cross-validate", "small.yaml", "--folds", "4", "--jobs", "1", "--out", "cv", "--no-plots"
    )
    assert outcome.exit_code == 0, outcome.stderr
    sweep = open_sweep(small / "cv")
    rows = sweep.joined("metrics")
    best = [
        float(fold.loc[fold["validation_loss"].idxmin(), "epoch"])
        for _, fold in rows.groupby("data.split.fold")
    ]
    assert len(best) == 4
    refit = open_run(small / "cv" / "refit")
    assert refit.config.tree["train"]["epochs"] == pytest.approx(np.mean(best))
    metrics = refit.tables["metrics"]
    assert "validation_loss" not in metrics  # nothing is held back
    assert metrics["epoch"].iloc[-1] == pytest.approx(np.mean(best), abs=0.1)
    assert "test_loss" in metrics
    assert f"{np.mean(best):.4g} epochs are best" in outcome.stderr
    again = nnlab("cross-validate", "small.yaml", "--folds", "4", "--jobs", "1", "--out", "cv", "--no-plots")
    assert again.exit_code == 0
    assert "finished before" in again.stderr


def test_the_test_set_is_the_same_for_all_folds_and_chooses_nothing(small, nnlab):
    """Each fold's run has the same test loss at the first weights, and the choice is by validation alone."""
    assert nnlab("cross-validate", "small.yaml", "--folds", "3", "--jobs", "1", "--out", "cv").exit_code == 0
    rows = open_sweep(small / "cv").joined("metrics")
    first = rows[rows["step"] == 0]
    tests = [build_experiment(trial.config).data.test for trial in trials_of(open_sweep(small / "cv").config)]
    for test in tests:
        np.testing.assert_array_equal(test.inputs, tests[0].inputs)
        np.testing.assert_array_equal(test.targets, tests[0].targets)
    # the sums over it are of programs of other shapes, which round differently
    assert first["test_loss"].tolist() == pytest.approx([first["test_loss"].iloc[0]] * 3, rel=1e-6)
    assert first["validation_loss"].nunique() == 3
    assert (small / "cv" / "plots" / "cross_validation.png").exists()


def test_a_dry_run_trains_nothing(small, nnlab):
    outcome = nnlab("cross-validate", "small.yaml", "--dry-run")
    assert outcome.exit_code == 0
    assert "10 trials, 0 done" in outcome.stdout
    assert [entry.name for entry in small.iterdir()] == ["small.yaml"]


def test_the_file_s_own_folds_test_set_and_seed_are_kept(small, nnlab):
    text = SMALL.replace("{test: 20}", "{test: 30, stratify: true, seed: 7, folds: 4, fold: 1}")
    (small / "small.yaml").write_text(text)
    for words, folds in (([], 4), (["--folds", "3"], 3)):
        outcome = nnlab("cross-validate", "small.yaml", *words, "--dry-run")
        assert f"{folds} trials, 0 done" in outcome.stdout
    assert nnlab("cross-validate", "small.yaml", "--jobs", "1", "--out", "cv", "--no-plots").exit_code == 0
    split = {
        "train": None,
        "validation": 0.0,
        "test": 30,
        "stratify": True,
        "folds": 4,
        "seed": 7,
        "sample": None,
    }
    assert open_run(small / "cv" / "refit").config.tree["data"]["split"] == split | {"fold": None}


def test_without_a_split_the_usual_test_set_stays_out(small, nnlab):
    (small / "small.yaml").write_text(SMALL.replace("split: {test: 20}, ", ""))
    words = ["cross-validate", "small.yaml", "--folds", "2", "--jobs", "1", "--out", "cv", "--no-plots"]
    assert nnlab(*words).exit_code == 0
    assert open_run(small / "cv" / "refit").config.tree["data"]["split"]["test"] == 0.15


SWEPT = "sweep: {axes: {data.split.fold: [0, 1]}}\n"
FOLDED = SMALL.replace("{test: 20}", "{test: 20, folds: 2, fold: 0}")


def test_a_sweep_over_folds_is_taken_as_it_is_and_seen_as_one(small, nnlab):
    (small / "small.yaml").write_text(FOLDED + SWEPT)
    words = ["cross-validate", "small.yaml", "--jobs", "1", "--out", "cv", "--no-plots"]
    assert nnlab(*words).exit_code == 0
    assert open_sweep(small / "cv").summary["cross_validation"]["folds"] == 2
    # with another seed beside, another number of epochs: the refit is made anew
    first = open_run(small / "cv" / "refit").config.tree["train"]["epochs"]
    outcome = nnlab(*words, "sweep.seeds=3")
    assert outcome.exit_code == 0, outcome.stderr
    assert open_run(small / "cv" / "refit").config.tree["train"]["epochs"] != first


WIDTHS = "sweep: {axes: {model.0.units: [1, 4]}}\n"


def test_a_value_of_another_axis_is_chosen_on_the_folds_and_refitted(small, nnlab):
    (small / "small.yaml").write_text(SMALL + WIDTHS)
    words = ["cross-validate", "small.yaml", "--folds", "3", "--jobs", "1", "--out", "cv"]
    outcome = nnlab(*words)
    assert outcome.exit_code == 0, outcome.stderr
    sweep, refit = open_sweep(small / "cv"), open_run(small / "cv" / "refit")
    assert sweep.axes == ["data.split.fold", "model.0.units"]
    assert len(sweep.trials) == 6
    rows = sweep.joined("metrics")
    scores = {}
    for units, records in rows.groupby("model.0.units"):
        curves = records.pivot(index="epoch", columns="data.split.fold", values="validation_loss")
        epochs = curves.idxmin().mean()
        scores[units] = curves.iloc[np.abs(curves.index - epochs).argmin()].mean(), epochs
    chosen = min(scores, key=scores.get)
    units = refit.config.tree["model"][0]["units"]
    assert (units, type(units)) == (chosen, int)
    assert refit.config.tree["train"]["epochs"] == pytest.approx(scores[chosen][1])
    assert "validation_loss" not in refit.tables["metrics"]
    assert f"model.0.units {chosen} and {scores[chosen][1]:.4g} epochs are best on average" in outcome.stderr
    assert (small / "cv" / "plots" / "chosen_by_folds.png").exists()
    again = nnlab(*words)
    assert "finished before" in again.stderr


def test_an_axis_may_be_given_on_the_command_line(small, nnlab):
    outcome = nnlab("cross-validate", "small.yaml", "--folds", "4", "model.0.units=2,4,8", "--dry-run")
    assert outcome.exit_code == 0, outcome.stderr
    assert "12 trials, 0 done" in outcome.stdout


def test_paths_that_move_together_are_refitted_together(small, nnlab):
    text = SMALL.replace("tanh, ", "tanh, {type: dense, units: 12}, tanh, ")
    axes = "{'model.0.units, model.2.units': [1, 6], data.split.fold: [0, 1]}"
    phenomena = "phenomena: [{type: chosen_by_folds, along: model.2.units}]\n"
    text = text.replace("{test: 20}", "{test: 20, folds: 2, fold: 0}")
    (small / "small.yaml").write_text(f"{text}{phenomena}sweep: {{axes: {axes}}}\n")
    words = ("--jobs", "1", "--out", "cv", "--no-plots")
    assert nnlab("cross-validate", "small.yaml", *words).exit_code == 0
    chosen = open_sweep(small / "cv").summary["chosen_by_folds"]["chosen"]
    model = open_run(small / "cv" / "refit").config.tree["model"]
    assert [model[0]["units"], model[2]["units"]] == [chosen, chosen]


def test_where_no_value_can_be_chosen_nothing_is_refitted(small, nnlab):
    (small / "small.yaml").write_text(SMALL + "sweep: {axes: {model.0.units: [12]}}\n")
    words = ("--folds", "2", "--jobs", "1", "--out", "cv", "--no-plots")
    outcome = nnlab("cross-validate", "small.yaml", *words)
    assert outcome.exit_code != 0
    assert "no value could be chosen: a choice needs two values" in outcome.stderr
    assert not (small / "cv" / "refit").exists()


def test_what_looks_at_a_validation_set_is_left_out_of_the_refit(small, nnlab):
    (small / "small.yaml").write_text(SMALL + "phenomena: [overfitting, sparsity]\n")
    words = ["cross-validate", "small.yaml", "--folds", "2", "--jobs", "1", "--out", "cv", "--no-plots"]
    assert nnlab(*words).exit_code == 0
    summary = open_run(small / "cv" / "refit").summary
    assert "sparsity" in summary
    assert "overfitting" not in summary


def test_no_training_may_be_the_best(small, nnlab):
    (small / "small.yaml").write_text(SMALL.replace("0.2}", "0.0}"))
    words = ["cross-validate", "small.yaml", "--folds", "2", "--jobs", "1", "--out", "cv", "--no-plots"]
    assert nnlab(*words).exit_code == 0
    assert open_run(small / "cv" / "refit").config.tree["train"]["steps"] == 0


def test_where_an_expectation_fails_nothing_is_refitted(small, nnlab):
    (small / "small.yaml").write_text(FOLDED + SWEPT + "expect: {final.train_loss: {max: 0}}\n")
    assert nnlab("cross-validate", "small.yaml", "--jobs", "1", "--out", "cv", "--no-plots").exit_code == 1
    assert not (small / "cv" / "refit").exists()


@pytest.mark.parametrize("rate", ["{type: one_cycle, peak: 0.1}", "{type: warmup, then: 0.1}"])
def test_a_schedule_that_goes_by_the_length_is_refused(rate, small, nnlab):
    (small / "small.yaml").write_text(SMALL.replace("0.2}", f"{rate}}}"))
    outcome = nnlab("cross-validate", "small.yaml")
    assert outcome.exit_code == 2
    assert "goes by the length of the training" in outcome.stderr
    (small / "small.yaml").write_text(SMALL.replace("0.2}", "{type: exponential, start: 0.1, epochs: 5}}"))
    assert nnlab("cross-validate", "small.yaml", "--dry-run").exit_code == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda tree: tree | {"sweep": {"axes": {"model.0.units": [2, 3], "data.batch_size": [4, 8]}}},
            "varies data.batch_size and model.0.units; folds choose along one axis beside data.split.fold",
        ),
        (
            lambda tree: (
                tree
                | {"data": tree["data"] | {"split": {"folds": 2, "fold": 0}}}
                | {"sweep": {"axes": {"data.split.fold": [0, 1]}, "zip": {"model.0.units": [2, 3]}}}
            ),
            "folds choose from a grid; put it under 'axes'",
        ),
        (
            lambda tree: tree | {"sweep": {"axes": {"model.1": ["tanh", "relu"]}}},
            "chosen_by_folds reads along numbers, and 'model.1' has the value 'tanh'",
        ),
        (
            lambda tree: {
                "name": "solved",
                "data": "wave",
                "model": [{"type": "dense", "units": 1, "use_bias": False}],
                "loss": "squared_error",
                "solver": "least_squares",
            },
            "takes no epochs",
        ),
    ],
)
def test_what_cannot_be_cross_validated_is_refused(change, message, small, nnlab):
    (small / "small.yaml").write_text(yaml.safe_dump(change(yaml.safe_load(SMALL))))
    outcome = nnlab("cross-validate", "small.yaml")
    assert outcome.exit_code == 2
    assert message in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1


# --- the schedule of an experiment file --------------------------------------------------------------------


def test_plot_draws_the_schedule_before_anything_is_trained(small, nnlab, monkeypatch):
    from nnlab import plotting

    drawn = []
    monkeypatch.setattr(plotting, "save", lambda figure, path: drawn.append((figure, path)))
    text = SMALL.replace("0.2}", "{type: exponential, start: 0.2, epochs: 6}}")
    (small / "small.yaml").write_text(text)
    (small / "other.yaml").write_text(SMALL.replace("name: small", "name: other"))
    outcome = nnlab("plot", "small.yaml", "other.yaml")
    assert (outcome.exit_code, outcome.stdout) == (0, "plots/learning_rate.png\n")
    [(figure, path)] = drawn
    assert str(path) == "plots/learning_rate.png"
    falling, level = figure.axes[0].lines
    steps, rates = falling.get_data()
    assert steps[-1] == 120
    np.testing.assert_allclose(rates, 0.2 * 10 ** (-steps / 60), rtol=1e-4)
    np.testing.assert_allclose(level.get_ydata(), 0.2, rtol=1e-6)
    assert not list(small.glob("results*"))


def test_a_schedule_that_goes_by_the_loss_is_not_known_before(small, nnlab):
    (small / "small.yaml").write_text(SMALL.replace("0.2}", "{type: performance, start: 0.2}}"))
    outcome = nnlab("plot", "small.yaml")
    assert outcome.exit_code == 2
    assert "goes by the loss as it trains" in outcome.stderr


def test_the_schedule_of_a_run_is_what_it_recorded(small, nnlab):
    (small / "small.yaml").write_text(SMALL.replace("0.2}", "{type: one_cycle, peak: 0.2}}"))
    assert nnlab("train", "small.yaml", "--out", "run", "--quiet").exit_code == 0
    assert (small / "run" / "plots" / "learning_rate.png").exists()
    rates = pandas.read_csv(small / "run" / "metrics.csv")["learning_rate"]
    assert rates.max() == pytest.approx(0.2, rel=0.1)
    assert rates.iloc[0] == pytest.approx(0.02)


CHECKED = """
import nnlab
from nnlab.sweeps.cross_validation import Choice, fold_sweep, refit_experiment
from nnlab.system import device
refit_experiment(fold_sweep(nnlab.load("small.yaml"), 3), Choice(1.0, {}))
assert not device._backend_is_started()
"""


def test_platform_and_threads_of_the_refit_are_still_to_be_chosen_when_the_folds_begin(small):
    subprocess.run([sys.executable, "-c", CHECKED], check=True)
