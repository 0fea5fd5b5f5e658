"""Searches: what they find, what they prune, and that they go on where they were stopped."""

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time

import pytest
from support import run_nnlab

from nnlab.config import check_tree, load
from nnlab.config.document import parse
from nnlab.registry import build
from nnlab.runs.results import open_run, open_sweep
from nnlab.runs.run import RunTask, run_together
from nnlab.storage.run_directory import RunDirectory
from nnlab.training.experiment import build_experiment

CONFIG = """\
name: searched
data: {type: xor, examples: 200, batch_size: 8}
model: {type: mlp, width: 4, depth: 1, outputs: 2}
optimizer: {type: sgd, learning_rate: 0.1}
train: {steps: 400}
record: {every: {steps: 20}, layers: false}
sweep:
  random: {draws: 10, axes: {optimizer.learning_rate: {log_uniform: [1.0e-5, 1.0]}}}
  method: {type: optuna, startup: 4}
expect:
  best.value: {max: 0.1}
"""
DRAWS, STARTUP = 10, 4
TABLES = ("trials.csv", "summary.csv", "summary.json")


def search(config, out, *words):
    return run_nnlab("sweep", config, "--out", out, "--jobs", 1, "--no-plots", *words)


def bytes_of(out, tables=TABLES):
    return {name: (out / name).read_bytes() for name in tables}


def finished_trials(out):
    """The trials that have ended, with the time at which they did."""
    ended = {}
    for file in out.glob("trials/*/summary.json"):
        if json.loads(file.read_text())["status"] in ("complete", "pruned"):
            ended[file.parent.name] = file.stat().st_mtime_ns
    return ended


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("search")
    (home / "config.yaml").write_text(CONFIG)
    return home


@pytest.fixture(scope="module")
def undisturbed(home):
    """A search that was left alone, and what it printed; not to be changed."""
    done = search(home / "config.yaml", home / "undisturbed")
    assert done.exit_code == 0, done.output
    return home / "undisturbed", done.stdout


@pytest.fixture(scope="module")
def unpruned(home):
    done = search(home / "config.yaml", home / "unpruned", "sweep.method.prune=false")
    assert done.exit_code == 0, done.output
    return home / "unpruned"


def test_it_finds_more_than_random_draws(unpruned):
    """The proposals after the random ones are better than these, and so is the best of all."""
    losses = open_sweep(unpruned).completed_trials["final.validation_loss"].tolist()
    assert len(losses) == DRAWS
    random, chosen = losses[:STARTUP], losses[STARTUP:]
    assert min(losses) == min(chosen) < statistics.median(random) / 2
    best = json.loads((unpruned / "summary.json").read_text())["best"]
    assert best["value"] == min(losses)


def test_the_best_trial_is_named(undisturbed):
    out, printed = undisturbed
    result = open_sweep(out)
    best = result.summary["best"]
    row = result.completed_trials.loc[result.completed_trials["final.validation_loss"].idxmin()]
    assert best == {
        "trial": row["trial"],
        "value": row["final.validation_loss"],
        "optimizer.learning_rate": row["optimizer.learning_rate"],
    }
    assert best["trial"] in printed
    assert "pruned" in printed
    assert "holds" in printed
    assert run_nnlab("check", out).exit_code == 0


def test_bad_trials_are_pruned(undisturbed, unpruned):
    out, _ = undisturbed
    result = open_sweep(out)
    pruned = result.trials[result.trials["status"] == "pruned"]
    assert result.summary["pruned"] == len(pruned) >= 1
    assert result.summary["complete"] + len(pruned) == result.summary["trials"] == DRAWS
    assert set(result.completed_trials["status"]) == {"complete"}
    # never below a tenth of their training, never the first ones, never a good one
    assert pruned["step"].between(80, 399).all()
    assert pruned.index.min() >= STARTUP
    assert pruned["optimizer.learning_rate"].max() < result.summary["best"]["optimizer.learning_rate"]
    assert json.loads((unpruned / "summary.json").read_text())["pruned"] == 0


def test_a_pruned_trial_is_the_beginning_of_the_whole_one(undisturbed, unpruned):
    """All that the two searches have in common: what led to the first pruned trial, and that trial."""
    out, _ = undisturbed
    table = open_sweep(out).trials
    first = int((table["status"] == "pruned").idxmax())
    for trial in table["trial"][: first + 1]:
        short, complete = (place / "trials" / trial / "metrics.csv" for place in (out, unpruned))
        assert complete.read_bytes().startswith(short.read_bytes())
        assert (short.read_bytes() == complete.read_bytes()) == (trial != table["trial"][first])
    run = open_run(out / "trials" / table["trial"][first])
    assert run.summary["status"] == "pruned"
    assert run.summary["step"] == run.tables["metrics"]["step"].iloc[-1] == run.summary["final"]["step"]


def test_the_same_command_again_runs_nothing(home, undisturbed):
    out, _ = undisturbed
    before, ended = bytes_of(out), finished_trials(out)
    assert search(home / "config.yaml", out).exit_code == 0
    assert bytes_of(out) == before
    assert finished_trials(out) == ended


def test_more_draws_run_the_additional_ones(home, undisturbed):
    out = home / "more"
    shutil.copytree(undisturbed[0], out)
    ended, rows = finished_trials(out), (out / "trials.csv").read_text().splitlines()
    assert search(home / "config.yaml", out, "sweep.random.draws=11").exit_code == 0
    now = finished_trials(out)
    assert {trial: now[trial] for trial in ended} == ended
    assert len(now) == DRAWS + 1
    assert (out / "trials.csv").read_text().splitlines()[: len(rows)] == rows


def stopped(how, trials, config, out):
    """Start a search, and send its process a signal when it has finished so many trials."""
    command = [sys.executable, "-m", "nnlab", "sweep", config, "--out", out, "--jobs", "1", "--no-plots"]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
    while len(finished_trials(out)) < trials and process.poll() is None:
        time.sleep(0.002)
    os.kill(process.pid, how)
    return process.wait()


def test_it_goes_on_where_it_was_stopped(home, undisturbed):
    """Interrupted, then killed, it comes to the trials of a search that was left alone, in their order."""
    out, config = home / "stopped", home / "config.yaml"
    assert stopped(signal.SIGINT, 2, config, out) == 130
    first = finished_trials(out)
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["status"], summary["missing"]) == ("interrupted", DRAWS - len(first))
    assert stopped(signal.SIGKILL, 5, config, out) == -signal.SIGKILL
    second = finished_trials(out)
    assert 2 <= len(first) < len(second) < DRAWS
    assert search(config, out).exit_code == 0
    ended = finished_trials(out)
    assert first.items() <= second.items() <= ended.items()
    assert len(ended) == DRAWS
    assert bytes_of(out) == bytes_of(undisturbed[0])


def test_a_journal_cut_off_as_it_was_written(home, undisturbed):
    out = home / "torn"
    shutil.copytree(undisturbed[0], out)
    with (out / "search.journal").open("a") as file:
        file.write('{"op_code": 4, "stu')
    assert search(home / "config.yaml", out).exit_code == 0
    assert bytes_of(out) == bytes_of(undisturbed[0])


def test_equal_proposals_are_one_run(home):
    """Of six proposals of two values."""
    axes = "sweep.random={draws: 6, axes: {optimizer.learning_rate: {choice: [0.1, 0.2]}}}"
    done = search(home / "config.yaml", home / "equal", axes, "train.steps=4", "~expect")
    assert done.exit_code == 0, done.output
    table = open_sweep(home / "equal").trials
    assert len(table) == len(finished_trials(home / "equal")) == 2
    assert set(table["optimizer.learning_rate"]) == {0.1, 0.2}


def test_a_space_of_everything(tmp_path):
    """Each distribution keeps to its bounds, a choice may be of anything; what is told is kept."""
    space = {
        "a": {"uniform": [0, 2]},
        "b": {"log_uniform": [1e-4, 1e-2]},
        "c": {"integers": [3, 5]},
        "d": {"choice": ["relu", {"type": "leaky_relu", "negative_slope": 0.3}, [1, 2], None]},
        "e": {"uniform": [1.5, 1.5]},
    }
    search = build("search", {"type": "optuna", "metric": "best.train_loss", "startup": 3})
    study = search.study("minimize", space, 0, tmp_path / "search.journal")
    for value in (1.0, 2.0, None, 0.5, 3.0, 2.5):
        proposal = study.propose()
        assert list(proposal.values) == list(space)
        assert 0 <= proposal.values["a"] <= 2
        assert 1e-4 <= proposal.values["b"] <= 1e-2
        assert proposal.values["c"] in (3, 4, 5)
        assert proposal.values["d"] in space["d"]["choice"]
        assert proposal.values["e"] == 1.5
        study.tell(proposal.number, value, {4: 1.0, 5: 2.0})
    left_open = study.propose()
    again = search.study("minimize", space, 0, tmp_path / "search.journal")
    assert again.proposals() == study.proposals()
    assert [proposal.open for proposal in again.proposals()] == [False] * 6 + [True]
    assert again.proposals()[-1] == left_open
    assert again.should_prune(left_open.number, {4: 3.0})  # the median of the complete ones is 1
    assert not again.should_prune(left_open.number, {4: 0.9})
    assert not again.should_prune(left_open.number, {3: 3.0})
    other = search.study("minimize", space, 1, tmp_path / "search.journal")
    assert other.proposals() == []


def test_a_lane_ends_where_it_is_told_to(tmp_path):
    """Beside another one, which goes on: both leave the rows that they leave alone."""
    tree = load_text(CONFIG.split("sweep:")[0].replace("steps: 400", "steps: 60")).tree
    configs = [check_tree(parse(json.dumps(tree | {"seed": seed}), "f.yaml")) for seed in (0, 1)]
    lanes = [
        RunTask(build_experiment(config), RunDirectory(tmp_path / str(i))) for i, config in enumerate(configs)
    ]

    def watch(number, chunk):
        steps = chunk.tables["metrics"]["step"]
        return 20 if number == 0 and 20 in steps else None

    outcomes = run_together(lanes, watch)
    assert [outcome.summary["status"] for outcome in outcomes] == ["pruned", "complete"]
    assert [outcome.signal for outcome in outcomes] == [0, 0]
    steps = [open_run(tmp_path / str(i)).tables["metrics"]["step"].tolist() for i in (0, 1)]
    assert steps == [[0, 20], [0, 20, 40, 60]]


def load_text(text):
    return check_tree(parse(text, "f.yaml"))


@pytest.mark.parametrize(
    ("changed", "at", "words"),
    [
        ("+sweep.axes={model.width: [3, 4]}", "sweep.axes", "a search varies what is under 'random' only"),
        ("+sweep.zip={model.width: [3, 4]}", "sweep.zip", "a search varies what is under 'random' only"),
        ("+sweep.seeds=2", "sweep.seeds", "one seed"),
        ("~sweep.random", "sweep.method", "a search needs 'random'"),
        ("sweep.method.metric=train_loss", "sweep.method.metric", "begin with final., best. or selected."),
        ("sweep.method.metric=final.validation_los", "sweep.method", "did you mean 'validation_loss'?"),
        ("data.split={train: 0.8, test: 0.2}", "sweep.method", "'final' has no number 'validation_loss'"),
        ("expect={best.valu: {max: 1}}", "expect.best.valu", "did you mean 'value'?"),
        (
            "sweep.random.axes={optimizer.momentum: {log_uniform: [1.0e-9, 1]}}",
            "sweep.random.axes.optimizer.momentum",
            "at optimizer.momentum=1: ",
        ),
    ],
)
def test_what_does_not_fit_is_said_before_anything_runs(changed, at, words, home, tmp_path):
    done = run_nnlab("sweep", home / "config.yaml", changed, "--out", tmp_path / "out")
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert f"{at}: " in line
    assert words in line
    assert not (tmp_path / "out").exists()


def test_without_optuna_the_extra_is_named(home, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    done = search(home / "config.yaml", tmp_path / "out")
    assert done.exit_code == 2
    assert done.stderr.splitlines() == ["method optuna needs Optuna: pip install 'nnlab[search]'"]
    assert not (tmp_path / "out").exists()
    assert search(home / "config.yaml", tmp_path / "out", "--dry-run").exit_code == 0
    assert run_nnlab("validate", home / "config.yaml").stdout.endswith("ok (10 trials, chosen as it goes)\n")
    assert run_nnlab("show", "search", "optuna").exit_code == 0


def test_bare_optuna_has_defaults(home):
    config = load(home / "config.yaml", ["sweep.method=optuna"])
    assert config.tree["sweep"]["method"] == {
        "type": "optuna",
        "metric": "final.validation_loss",
        "direction": None,
        "prune": True,
        "startup": 10,
    }
