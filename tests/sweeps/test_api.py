"""`nnlab.sweep`, `nnlab.plan_sweep` and `nnlab.cross_validate`: what a notebook gets."""

import os
import signal
import subprocess
import threading

import pandas
import pytest
from support import run_nnlab

import nnlab

TINY = """\
name: tiny
data: {type: xor, examples: 120, batch_size: 8}
model: {type: mlp, width: 4, depth: 1, activation: tanh, outputs: 2}
optimizer: {type: sgd, learning_rate: 0.1}
train: {steps: 20}
record: {every: {steps: 10}}
sweep: {axes: {model.width: [3, 4, 6]}, seeds: 2}
phenomena: [gradient_flow, {type: double_descent, capacity: model.width}]
expect: {double_descent.verdict: {equals: none}}
"""
LONG = """\
name: long
data: {type: xor, examples: 120, batch_size: 8}
model: {type: mlp, width: 4, depth: 1, activation: tanh, outputs: 2}
optimizer: {type: sgd, learning_rate: 0.01}
train: {steps: 60000}
record: {every: {steps: 5000}}
sweep: {seeds: 2}
"""
SMALL = """\
name: small
data: {type: gaussian, examples: 120, features: 5, classes: 3, split: {test: 20}, batch_size: 10}
model: [{type: dense, units: 12}, tanh, {type: dense, units: 3}]
optimizer: {type: sgd, momentum: 0.9, learning_rate: 0.2}
train: {epochs: 4}
"""


def loaded(folder, text):
    (folder / "experiment.yaml").write_text(text)
    return nnlab.load(folder / "experiment.yaml")


def written(out):
    """The bytes of every file that does not hold a time, by its path."""
    of_times = {".lock", "sweep.log", "train.log", "timing.csv", "environment.json"}
    kept = [path for path in out.rglob("*") if path.is_file() and path.name not in of_times]
    return {str(path.relative_to(out)): path.read_bytes() for path in kept if path.suffix != ".json"} | {
        str(path.relative_to(out)): path.read_bytes() for path in kept if path.name == "summary.json"
    }


def moments(out):
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("trials/*/summary.json")}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def swept(home):
    """A sweep, its events and what was printed; not to be changed."""
    events = []
    result = nnlab.sweep(loaded(home, TINY), home / "swept", jobs=1, progress=events.append)
    return result, events


def test_it_leaves_the_bytes_of_the_command(swept, home):
    result, _ = swept
    done = run_nnlab("sweep", home / "experiment.yaml", "--out", home / "command", "--jobs", 1)
    assert done.exit_code == 0, done.output
    assert written(home / "command") == written(result.path)
    assert {path.name for path in result.plots} == {"double_descent.png"}


def test_nothing_is_printed_and_nothing_run_twice(swept, capfd):
    result, _ = swept
    before = moments(result.path)
    again = nnlab.sweep(result.config, result.path, jobs=1, plots=False)
    assert moments(result.path) == before
    assert again.trials.equals(result.trials)
    assert again.plots == ()
    assert capfd.readouterr() == ("", "")


def test_what_a_sweep_tells(swept):
    result, events = swept
    assert isinstance(result, nnlab.Sweep)
    assert result.status is nnlab.RunStatus.COMPLETE
    assert result.axes == ["model.width"]
    assert result.trials["model.width"].tolist() == [3, 3, 4, 4, 6, 6]
    assert len(result.completed_trials) == result.summary["trials"] == 6
    assert result.numbers["double_descent.verdict"] == "none"
    assert result.check()
    assert "double_descent.verdict" in repr(result.check())
    assert result.figure("double_descent").axes
    joined = result.joined("metrics")
    assert joined.groupby("trial").size().tolist() == [3] * 6
    assert "double_descent.verdict" in result._repr_html_()
    ended = [event for event in events if event.status]
    assert sorted(event.trial.id for event in ended) == sorted(result.trials["trial"])
    assert all(0 <= event.share <= 1 for event in events)


def test_the_runs_of_a_sweep_are_opened_as_they_are_asked_for(swept):
    result, _ = swept
    runs = result.runs
    assert len(runs) == 6
    assert [run.path.name for run in runs] == result.trials["trial"].tolist()
    assert [run.config.tree["model"]["width"] for run in runs[::2]] == [3, 4, 6]
    assert runs[-1].path == runs[5].path
    assert runs[0].metrics["step"].tolist() == [0, 10, 20]
    with pytest.raises(IndexError):
        runs[6]
    assert "6 runs" in repr(runs)


def test_open_gives_the_sweep(swept):
    result, _ = swept
    opened = nnlab.open(result.path)
    assert isinstance(opened, nnlab.Sweep)
    assert opened.trials.equals(result.trials)


def test_a_plan_says_what_is_left_and_writes_nothing(swept, home, tmp_path):
    result, _ = swept
    plan = nnlab.plan_sweep(result.config, tmp_path / "out")
    assert (plan.trials_left, len(plan.groups)) == (6, 3)
    assert plan.table.columns.tolist() == ["trial", "model.width", "seed", "program"]
    assert plan.table["program"].tolist() == [1, 1, 2, 2, 3, 3]
    cost = plan.estimate(jobs=1)
    assert cost.workers == 1
    assert cost.flops == plan.flops > 0
    assert cost.seconds > 0
    assert "6 trials, 0 done, 6 to run as 3 programs" in repr(plan)
    assert plan.trials[0].id in plan._repr_html_()
    assert list(tmp_path.iterdir()) == []
    done = nnlab.plan_sweep(result.config, result.path)
    assert (done.trials_left, set(done.table["program"])) == (0, {"complete"})
    assert nnlab.plan_sweep(result.config, result.path, resume=False).trials_left == 6


def test_a_thread_runs_a_sweep_and_leaves_signals_alone(swept, tmp_path):
    result, _ = swept
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    seen, results = [], []

    def note_handlers(event):
        seen.append([signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)])

    def run():
        results.append(
            nnlab.sweep(result.config, tmp_path / "out", jobs=1, plots=False, progress=note_handlers)
        )

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert results[0].check()
    assert seen
    assert all(during == handlers for during in seen)
    assert pandas.read_csv(tmp_path / "out" / "trials.csv").equals(
        pandas.read_csv(result.path / "trials.csv")
    )


# --- interrupted -----------------------------------------------------------------------------------------


def children():
    """The processes that this one has started and that run."""
    listed = subprocess.run(
        ["ps", "-o", "pid=,stat=,comm=", "--ppid", str(os.getpid())],
        capture_output=True,
        text=True,
        check=False,
    )
    rows = [line.split() for line in listed.stdout.splitlines()]
    return {int(process) for process, state, name in rows if name != "ps" and not state.startswith("Z")}


@pytest.fixture(scope="module")
def undisturbed(home):
    """What two trials of a second or so each leave that nobody disturbed."""
    config = loaded(home, LONG)
    nnlab.sweep(config, home / "undisturbed", jobs=1, plots=False)
    return config, written_but_checkpoints(home / "undisturbed")


def written_but_checkpoints(out):
    return {path: content for path, content in written(out).items() if "checkpoints" not in path}


def interrupt_by_signal():
    os.kill(os.getpid(), signal.SIGINT)


def interrupt_by_exception():
    raise KeyboardInterrupt


@pytest.mark.parametrize("how", [interrupt_by_signal, interrupt_by_exception])
def test_an_interrupt_ends_the_workers_and_the_sweep_goes_on(how, undisturbed, tmp_path, default_signals):
    config, expected = undisturbed
    before = children()
    began = []

    def interrupt(event):
        if not began and 0 < event.share < 1:
            began.append(event)
            how()

    with pytest.raises(KeyboardInterrupt) as raised:
        nnlab.sweep(config, tmp_path / "out", jobs=1, plots=False, progress=interrupt)
    assert children() == before
    if how is interrupt_by_signal:
        assert isinstance(raised.value, nnlab.Interrupted)
        assert (raised.value.path, raised.value.signal) == (tmp_path / "out", signal.SIGINT)
    stopped = nnlab.open(tmp_path / "out")
    assert stopped.status is nnlab.RunStatus.INTERRUPTED
    assert stopped.summary["missing"] >= 1
    assert not stopped.check()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    nnlab.sweep(config, tmp_path / "out", jobs=1, plots=False)
    assert written_but_checkpoints(tmp_path / "out") == expected


# --- errors ----------------------------------------------------------------------------------------------


def test_errors_have_the_words_of_the_command(swept, home, tmp_path):
    result, _ = swept
    single = TINY.split("sweep:")[0]
    with pytest.raises(nnlab.ConfigError, match="has no 'sweep:' block"):
        nnlab.sweep(loaded(tmp_path, single))
    with pytest.raises(TypeError, match=r"takes an experiment of nnlab\.load, not str"):
        nnlab.sweep("experiment.yaml")
    other = loaded(tmp_path, TINY.replace("steps: 20", "steps: 30"))
    with pytest.raises(nnlab.UsageError) as raised:
        nnlab.sweep(other, result.path)
    command = run_nnlab("sweep", tmp_path / "experiment.yaml", "--out", result.path)
    assert command.stderr == f"{raised.value}\n"
    with pytest.raises(nnlab.UsageError) as raised:
        nnlab.plan_sweep(other, result.path)
    assert command.stderr == f"{raised.value}\n"


# --- cross-validation ------------------------------------------------------------------------------------


def test_cross_validation_leaves_the_bytes_of_the_command(tmp_path, capfd):
    experiment = loaded(tmp_path, SMALL)
    notes = []
    outcome = nnlab.cross_validate(experiment, tmp_path / "api", folds=3, jobs=1, notify=notes.append)
    assert capfd.readouterr() == ("", "")
    assert outcome.refit.config.tree["train"]["epochs"] == outcome.epochs
    assert outcome.epochs == outcome.sweep.summary["cross_validation"]["best_epoch"]
    assert outcome.values == {}
    assert "epochs are best on average" in notes[0]
    assert outcome.check()
    assert "cross_validation" in outcome._repr_html_()
    words = ("--folds", 3, "--jobs", 1, "--out", tmp_path / "command", "--quiet")
    assert run_nnlab("cross-validate", tmp_path / "experiment.yaml", *words).exit_code == 0
    assert written(tmp_path / "command") == written(tmp_path / "api")


def test_cross_validation_says_which_value_it_chose(tmp_path):
    experiment = loaded(tmp_path, SMALL + "sweep: {axes: {optimizer.learning_rate: [0.001, 0.2]}}\n")
    outcome = nnlab.cross_validate(experiment, tmp_path / "out", folds=2, jobs=1, plots=False)
    numbers = outcome.sweep.summary["chosen_by_folds"]
    assert outcome.values == {"optimizer.learning_rate": numbers["chosen"]}
    assert outcome.epochs == numbers["best_epoch"]
    assert outcome.refit.config.tree["optimizer"]["learning_rate"] == numbers["chosen"]


def test_where_an_expectation_fails_nothing_is_refitted(tmp_path):
    text = SMALL.replace("{test: 20}", "{test: 20, folds: 2, fold: 0}")
    text += "sweep: {axes: {data.split.fold: [0, 1]}}\nexpect: {final.train_loss: {max: 0}}\n"
    outcome = nnlab.cross_validate(loaded(tmp_path, text), tmp_path / "out", jobs=1, plots=False)
    assert (outcome.epochs, outcome.refit) == (None, None)
    assert not outcome.check()
    assert not (tmp_path / "out" / "refit").exists()


def test_what_cannot_be_cross_validated_is_refused_before_anything_runs(tmp_path):
    experiment = loaded(tmp_path, SMALL.replace("0.2}", "{type: one_cycle, peak: 0.1}}"))
    with pytest.raises(nnlab.ConfigError, match="goes by the length of the training"):
        nnlab.cross_validate(experiment, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_callback_that_raises_leaves_a_summary(tmp_path):
    def fail(event):
        raise ValueError("of the caller")

    with pytest.raises(ValueError, match="of the caller"):
        nnlab.sweep(loaded(tmp_path, TINY), tmp_path / "out", jobs=1, progress=fail)
    assert nnlab.open(tmp_path / "out").status == "interrupted"


def test_workers_import_no_module_of_the_working_directory(folder):
    (folder / "optax.py").write_text("raise SystemExit('the optax of the working directory')")
    assert nnlab.sweep(loaded(folder, TINY), "out", jobs=1, plots=False).status == "complete"


@pytest.mark.parametrize("jobs", [0, -1])
def test_no_workers_are_refused_and_not_waited_for(jobs, tmp_path):
    with pytest.raises(nnlab.UsageError, match="name 1 or more"):
        nnlab.sweep(loaded(tmp_path, TINY), tmp_path / "out", jobs=jobs)
    assert not (tmp_path / "out").exists()
