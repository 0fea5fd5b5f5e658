"""Interrupted runs: the same command leaves the bytes of one that was never interrupted, or says why not."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file
from torture.kills import left_by

from nnlab.config.document import parse
from nnlab.config.load import check_tree
from nnlab.errors import NnlabError, UsageError
from nnlab.runs import resume
from nnlab.runs import run as runs
from nnlab.runs.resume import CheckpointTimer, ResumePolicy, RunTask
from nnlab.runs.run import run, run_together
from nnlab.storage import checkpoints
from nnlab.storage.run_directory import RunDirectory
from nnlab.system import device
from nnlab.training import segments
from nnlab.training.experiment import build_experiment

BASE = """\
name: base
data: {type: gaussian, examples: 60, features: 6, classes: 3, split: {train: 36, validation: 24},
  batch_size: 8}
model: [{type: dense, units: 5}, batch_norm, relu, {type: dropout, rate: 0.3}, {type: dense, units: 3}]
optimizer: {type: adam, learning_rate: {type: cosine, peak: 0.02}}
train: {steps: 60}
record: {every: {steps: 3}, predictions: true}
phenomena: [gradient_flow]
"""
KINDS = {
    "batch norm, dropout, Adam, cosine": BASE,
    "full batch, momentum, noise": BASE.replace(
        "batch_size: 8", "batch_size: full, label_noise: 0.2"
    ).replace("{type: adam, learning_rate: {type: cosine, peak: 0.02}}", "{type: sgd, momentum: 0.9}"),
    "rounds of pruning": BASE.replace("steps: 60", "steps: 20") + "prune: {rounds: 2, rewind: 7}\n",
    "grokfast around AdamW, decay in the loss": BASE.replace(
        "optimizer: {type: adam, learning_rate: {type: cosine, peak: 0.02}}",
        "optimizer: {type: grokfast, optimizer: {type: adamw, learning_rate: 0.01}}\n"
        "regularizers: [{type: l2, strength: 0.01}]",
    ),
    "no layers, no test of its own, log-spaced": BASE.replace(
        "{every: {steps: 3}, predictions: true}", "{log_spaced: 20, layers: false}"
    ).replace("phenomena: [gradient_flow]\n", ""),
    "regression, noisy inputs, the path of the weights": BASE.replace(
        "gaussian, examples: 60, features: 6, classes: 3", "linear_teacher, examples: 60, features: 6"
    )
    .replace("units: 3}]", "units: 1}]\nloss: squared_error\naugment: [{type: noise, std: 0.3}, mixup]")
    .replace("[gradient_flow]", "[{type: training_path, points: 5}]"),
}


def experiment(text):
    return build_experiment(check_tree(parse(text, "test.yaml")))


@pytest.fixture(autouse=True)
def _as_optax_is_written():
    """Its Adam multiplies floats by a step that is an integer."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def often(monkeypatch):
    """Chunks of few steps, so that there are many of them."""
    monkeypatch.setattr(segments, "CHUNK_SECONDS", 1e-9)
    monkeypatch.setattr(segments, "MAXIMUM_FIRST_STEPS", 4)


def interrupted(text, place, chunks, policy=ResumePolicy(every=1e9)):  # noqa: B008
    """A run that gets a signal in its so manieth chunk."""
    seen = []

    def watch(chunk):
        seen.append(chunk.step)
        if len(seen) == chunks:
            os.kill(os.getpid(), signal.SIGTERM)

    outcome = run(experiment(text), RunDirectory(place), watch, policy)
    assert outcome.signal == signal.SIGTERM
    return outcome


def whole(text, place):
    assert run(experiment(text), RunDirectory(place)).summary["status"] == "complete"
    return left_by(place)


@pytest.mark.parametrize("text", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("chunks", [1, 5])
def test_going_on_leaves_the_same_bytes(text, chunks, tmp_path, often):
    expected = whole(text, tmp_path / "whole")
    interrupted(text, tmp_path / "run", chunks)
    told = []
    outcome = run(experiment(text), RunDirectory(tmp_path / "run"), notify=told.append)
    assert outcome.summary["status"] == "complete"
    assert "goes on from step" in told[0]
    assert left_by(tmp_path / "run") == expected
    assert any("best.safetensors" in name for name in expected)


@pytest.mark.parametrize("kind", ["batch norm, dropout, Adam, cosine", "rounds of pruning"])
def test_going_on_at_every_step_leaves_the_same_bytes(kind, tmp_path, often):
    expected = whole(KINDS[kind], tmp_path / "whole")
    stops = 0
    while True:
        try:
            interrupted(KINDS[kind], tmp_path / "run", 2)  # the first one is what was recorded before
        except AssertionError:
            break
        stops += 1
    assert stops > 20
    assert left_by(tmp_path / "run") == expected


def test_lanes_go_on_together(tmp_path, often):
    texts = [
        KINDS["full batch, momentum, noise"].replace("name: base", f"name: base\nseed: {s}") for s in (1, 2)
    ]
    for name, stop in (("whole", 0), ("run", 4)):
        lanes = [RunTask(experiment(t), RunDirectory(tmp_path / name / str(i))) for i, t in enumerate(texts)]
        seen = []

        def watch(number, chunk, seen=seen, stop=stop):
            seen.append(number)
            if len(seen) == stop:
                os.kill(os.getpid(), signal.SIGINT)

        outcomes = run_together(lanes, watch)
        assert [outcome.signal for outcome in outcomes] == [signal.SIGINT if stop else 0] * 2
    # killed between the two checkpoints of a step: the older one of both is gone on from
    newest = sorted((tmp_path / "run" / "1" / "checkpoints").iterdir())[-1]
    assert len(list(newest.iterdir())) == 4
    lanes = [
        RunTask(lane.experiment, RunDirectory(tmp_path / "run" / str(i))) for i, lane in enumerate(lanes)
    ]
    assert [outcome.summary["status"] for outcome in run_together(lanes)] == ["complete"] * 2
    for i in range(2):
        assert left_by(tmp_path / "run" / str(i)) == left_by(tmp_path / "whole" / str(i))


def test_lanes_of_different_steps_go_on_from_the_last_common_one(tmp_path, often):
    text = KINDS["full batch, momentum, noise"]
    expected = whole(text, tmp_path / "whole")
    for i in range(2):
        interrupted(text, tmp_path / str(i), 6, ResumePolicy(every=0.0))
    newest = sorted((tmp_path / "1" / "checkpoints").iterdir())
    shutil.rmtree(newest[-1])
    lanes = [RunTask(experiment(text), RunDirectory(tmp_path / str(i))) for i in range(2)]
    found = resume.find_resume_points(lanes, ResumePolicy(), print)
    assert {f"step-{one.meta.step:010d}" for one in found} == {newest[0].name}
    run_together(lanes)
    for i in range(2):
        assert left_by(tmp_path / str(i)).keys() == expected.keys()


def test_a_run_killed_before_it_could_say_that_it_was_done(tmp_path):
    expected = whole(BASE, tmp_path / "run")
    (tmp_path / "run" / "summary.json").write_text('{"status": "running"}')
    assert run(experiment(BASE), RunDirectory(tmp_path / "run")).summary["status"] == "complete"
    assert left_by(tmp_path / "run") == expected


# --- damage -----------------------------------------------------------------------------------------------


def test_rows_after_the_checkpoint_and_a_torn_line_are_cut(tmp_path, often):
    expected = whole(BASE, tmp_path / "whole")
    interrupted(BASE, tmp_path / "run", 5)
    for name in ("metrics.csv", "layers.csv", "timing.csv"):
        with (tmp_path / "run" / name).open("a") as file:
            file.write("33,1.5,0.0")
    run(experiment(BASE), RunDirectory(tmp_path / "run"))
    assert left_by(tmp_path / "run") == expected


def test_a_damaged_checkpoint_is_told_of_and_the_one_before_is_used(tmp_path, often):
    expected = whole(BASE, tmp_path / "whole")
    interrupted(BASE, tmp_path / "run", 6, ResumePolicy(every=0.0))
    older, newer = sorted((tmp_path / "run" / "checkpoints").iterdir())
    (newer / "training.safetensors").write_bytes(b"\0" * 100)
    told = []
    run(experiment(BASE), RunDirectory(tmp_path / "run"), notify=told.append)
    assert "training.safetensors: damaged" in told[0]
    assert f"goes on from step {int(older.name[5:])}" in told[1]
    assert told[0] in (tmp_path / "run" / "train.log").read_text()
    assert left_by(tmp_path / "run") == expected


def test_tables_that_are_not_what_they_were_are_not_gone_on_with(tmp_path, often):
    expected = whole(BASE, tmp_path / "whole")
    interrupted(BASE, tmp_path / "run", 5)
    table = tmp_path / "run" / "metrics.csv"
    table.write_text(table.read_text().replace("1", "2", 1))
    told = []
    run(experiment(BASE), RunDirectory(tmp_path / "run"), notify=told.append)
    assert "metrics.csv does not begin with what it held" in told[0]
    assert left_by(tmp_path / "run") == expected


# --- what differs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "value", "says"),
    [
        ("jax", "0.1.0", "jax was {jax} and is 0.1.0"),
        ("threads", 7, "threads was 1 and is 7"),
        ("devices", ["TPU v9"], "devices was cpu and is TPU v9"),
        ("processor", "abacus", "and is abacus"),
    ],
)
def test_other_versions_and_devices_are_refused_or_recorded(what, value, says, tmp_path, often, monkeypatch):
    interrupted(BASE, tmp_path / "run", 5)
    real = device.environment()
    other = real | ({"versions": real["versions"] | {what: value}} if what == "jax" else {what: value})
    monkeypatch.setattr(device, "environment", lambda: other)
    before = left_by(tmp_path / "run")
    with pytest.raises(UsageError) as refused:
        run(experiment(BASE), RunDirectory(tmp_path / "run"))
    assert says.format(jax=real["versions"]["jax"]) in str(refused.value)
    assert "--allow-drift goes on" in str(refused.value)
    assert left_by(tmp_path / "run") == before  # nothing lost
    interrupted(BASE, tmp_path / "run", 2, ResumePolicy(allow_drift=True))
    outcome = run(experiment(BASE), RunDirectory(tmp_path / "run"))  # nothing differs any longer
    assert outcome.summary["status"] == "complete"
    [drift] = json.loads((tmp_path / "run" / "environment.json").read_text())["drift"]
    assert (drift["what"], drift["is"]) == (what, value)
    assert drift["step"] > 0


def test_another_config_goes_on_where_drift_is_allowed(tmp_path, often, nnlab):
    file = tmp_path / "base.yaml"
    file.write_text(BASE)
    interrupted(BASE, tmp_path / "run", 5)
    words = ["train", file, "optimizer.learning_rate.peak=0.5", "--out", tmp_path / "run", "--no-plots"]
    refused = nnlab(*words)
    assert (refused.exit_code, "holds a run of another config" in refused.stderr) == (2, True)
    result = nnlab(*words, "--allow-drift")
    assert result.exit_code == 0, result.stderr
    assert "goes on from step" in result.stderr
    assert "config differs" in result.stderr
    assert "the learning rate jumps: at step " in result.stderr
    assert "peak: 0.5" in (tmp_path / "run" / "config.yaml").read_text()
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["drift"][0]["what"] == "config"


def test_a_finished_run_is_lengthened_where_drift_is_allowed(tmp_path, often, nnlab):
    text = BASE.replace("{type: cosine, peak: 0.02}", "0.01")  # does not go by the length
    expected = whole(text.replace("steps: 60", "steps: 90"), tmp_path / "whole")
    whole(text, tmp_path / "run")
    (tmp_path / "base.yaml").write_text(text.replace("steps: 60", "steps: 90"))
    result = nnlab("train", tmp_path / "base.yaml", "--out", tmp_path / "run", "--no-plots", "--allow-drift")
    assert "goes on from step 60" in result.stderr
    assert "jumps" not in result.stderr
    steps = [line.split(b",")[0] for line in left_by(tmp_path / "run")["metrics.csv"].splitlines()[1:]]
    assert steps == [str(step).encode() for step in range(0, 91, 3)]
    assert left_by(tmp_path / "run")["metrics.csv"] == expected["metrics.csv"]
    shorter = nnlab(
        "train", tmp_path / "base.yaml", "train.steps=30", "--out", tmp_path / "run", "--allow-drift"
    )
    assert (shorter.exit_code, "more than the 30 of this config" in shorter.stderr) == (2, True)


@pytest.mark.parametrize(
    ("old", "new"),
    [("units: 5", "units: 6"), ("batch_norm, ", ""), ("adam", "rmsprop"), ("layers: true", "layers: false")],
)
def test_another_model_is_refused_even_so_and_nothing_is_changed(old, new, tmp_path, often):
    text = BASE.replace("predictions: true", "layers: true").replace("phenomena: [gradient_flow]\n", "")
    interrupted(text, tmp_path / "run", 5)
    before = left_by(tmp_path / "run")
    with pytest.raises(UsageError, match="--force trains anew"):
        run(
            experiment(text.replace(old, new)),
            RunDirectory(tmp_path / "run"),
            policy=ResumePolicy(allow_drift=True),
        )
    assert left_by(tmp_path / "run") == before


def test_the_results_of_one_config_are_not_relabelled_as_another_s(tmp_path, often):
    expected = whole(BASE, tmp_path / "run")
    other = experiment(BASE.replace("peak: 0.02", "peak: 0.5"))
    with pytest.raises(UsageError, match="is finished, with another config; nothing is left"):
        run(other, RunDirectory(tmp_path / "run"), policy=ResumePolicy(allow_drift=True))
    assert left_by(tmp_path / "run") == expected


def test_a_run_that_is_lengthened_survives_a_kill(tmp_path, often, monkeypatch):
    """Before its first new checkpoint is written, when the last outputs of the shorter one are gone."""
    text = BASE.replace("{type: cosine, peak: 0.02}", "0.01")
    longer = text.replace("steps: 60", "steps: 90")
    whole(text, tmp_path / "run")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs, "train_together", killed)
        with pytest.raises(KeyboardInterrupt):
            run(experiment(longer), RunDirectory(tmp_path / "run"), policy=ResumePolicy(allow_drift=True))
    told = []
    run(
        experiment(longer),
        RunDirectory(tmp_path / "run"),
        policy=ResumePolicy(allow_drift=True),
        notify=told.append,
    )
    assert "goes on from step 60" in told[0]
    expected = whole(longer, tmp_path / "whole")
    assert left_by(tmp_path / "run")["metrics.csv"] == expected["metrics.csv"]


def test_a_run_killed_as_it_begins_anew_is_not_taken_for_finished(tmp_path, often, nnlab, monkeypatch):
    """What was there spoke of results that are gone."""
    (tmp_path / "base.yaml").write_text(BASE)
    words = ["train", tmp_path / "base.yaml", "--out", tmp_path / "run", "--no-plots"]
    assert nnlab(*words).exit_code == 0
    real = RunDirectory.write

    def killed(self, name, text):
        if name == "environment.json":
            raise KeyboardInterrupt
        real(self, name, text)

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "write", killed)
        assert nnlab(*words, "--force").exit_code == 130
    result = nnlab(*words)
    assert "finished before" not in result.stderr
    assert result.exit_code == 0


def test_a_changed_timing_is_no_reason_to_begin_anew(tmp_path, often):
    expected = whole(BASE, tmp_path / "whole")
    interrupted(BASE, tmp_path / "run", 5)
    (tmp_path / "run" / "timing.csv").write_text("gone\n")
    told = []
    run(experiment(BASE), RunDirectory(tmp_path / "run"), notify=told.append)
    assert "goes on from step" in told[0]
    assert left_by(tmp_path / "run") == expected


@pytest.mark.parametrize("name", ["summary.json", "environment.json"])
@pytest.mark.parametrize("content", [None, "{", '{"drift": 5}'])
def test_small_files_that_are_damaged_do_not_keep_a_run_from_going_on(name, content, tmp_path, often, nnlab):
    expected = whole(BASE, tmp_path / "whole")
    interrupted(BASE, tmp_path / "run", 5)
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "run" / name).unlink()
    if content is not None:
        (tmp_path / "run" / name).write_text(content)
    result = nnlab("train", tmp_path / "base.yaml", "--out", tmp_path / "run", "--no-plots")
    assert (result.exit_code, "goes on from step" in result.stderr) == (0, True), result.stderr
    assert left_by(tmp_path / "run") == expected


def test_nothing_of_the_user_s_is_removed(tmp_path, often):
    (tmp_path / "run" / ".backup.2024").mkdir(parents=True)
    (tmp_path / "run" / ".notes.7").write_text("mine")
    (tmp_path / "run" / ".summary.json.123").write_text("left by a process that was killed")
    whole(BASE, tmp_path / "run")
    left = {place.name for place in (tmp_path / "run").iterdir() if place.name.startswith(".")}
    assert left == {".backup.2024", ".notes.7"}


def test_force_trains_anew(tmp_path, often):
    expected = whole(BASE, tmp_path / "whole")
    interrupted(BASE, tmp_path / "run", 5)
    told = []
    run(
        experiment(BASE),
        RunDirectory(tmp_path / "run"),
        policy=ResumePolicy(resume=False),
        notify=told.append,
    )
    assert told == []
    assert left_by(tmp_path / "run") == expected


# --- numbers, time, signals -------------------------------------------------------------------------------


def test_best_are_the_weights_of_the_record_with_the_smallest_validation_loss(tmp_path, often):
    text = BASE.replace("{type: cosine, peak: 0.02}", "0.2")  # soon overfitted
    whole(text, tmp_path / "run")
    rows = np.genfromtxt(tmp_path / "run" / "metrics.csv", delimiter=",", names=True)
    best = rows[rows["validation_loss"].argmin()]
    [place] = (tmp_path / "run" / "checkpoints").iterdir()
    manifest = json.loads((place / "manifest.json").read_text())["best"]
    assert manifest["step"] == best["step"] < 60
    assert manifest["loss"] == pytest.approx(best["validation_loss"], rel=1e-6)
    whole(text.replace("steps: 60", f"steps: {best['step']:.0f}"), tmp_path / "shorter")
    [short] = (tmp_path / "shorter" / "checkpoints").iterdir()
    there, expected = load_file(place / "best.safetensors"), load_file(short / "weights.safetensors")
    assert there.keys() == expected.keys()
    assert all(np.array_equal(there[name], expected[name]) for name in there)


def test_a_run_that_diverges_keeps_its_last_finite_checkpoint_and_is_never_best(tmp_path, often):
    """With a validation loss that overflows while the training loss is still a number."""
    text = BASE.replace(
        "{type: adam, learning_rate: {type: cosine, peak: 0.02}}", "{type: sgd, learning_rate: 1e7}"
    )
    text = text.replace("batch_norm, ", "").replace("{type: dropout, rate: 0.3}, ", "")
    outcome = run(experiment(text), RunDirectory(tmp_path / "run"), policy=ResumePolicy(every=0.0))
    assert outcome.summary["status"] == "diverged"
    best = outcome.summary["best"].values()
    assert all(value is not None and np.isfinite(value) for value in best)
    for place in (tmp_path / "run" / "checkpoints").glob("step-*"):
        found = checkpoints.load(place)
        assert found.meta.step <= outcome.summary["diverged_at"]
        arrays = found.arrays()
        for group in ("weights", "best"):
            assert all(np.isfinite(array).all() for array in arrays[group].values())


def test_checkpoints_are_bounded_in_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(resume.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(resume, "_save", lambda *_: now.__setitem__(0, now[0] + 3.0))  # it takes 3 seconds
    timer = CheckpointTimer(60.0)
    now[0] = 59.0
    assert not timer.is_due()
    now[0] = 60.0
    assert timer.is_due()
    timer.save([(None, None)])
    now[0] = 63.0 + 3.0 / 0.02 - 1
    assert not timer.is_due()
    now[0] += 2
    assert timer.is_due()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_at_a_checkpoint(number, tmp_path, often, default_signals):
    def watch(chunk):
        if chunk.step < 20:
            os.kill(os.getpid(), number)

    outcome = run(experiment(BASE), RunDirectory(tmp_path / "run"), watch)
    assert (outcome.signal, outcome.summary["status"]) == (number, "interrupted")
    [place] = (tmp_path / "run" / "checkpoints").iterdir()
    assert checkpoints.load(place).meta.step == outcome.summary["step"]


def test_a_second_signal_leaves_no_table_open(tmp_path, often):
    chunks, directory = [], RunDirectory(tmp_path / "run")

    def interrupt_later(chunk):
        chunks.append(chunk)
        if len(chunks) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(experiment(BASE), directory, interrupt_later)
    assert (directory.path / "metrics.csv").exists()
    assert not directory.sync()


SECOND = """
import os, signal, sys, threading
sys.path.insert(0, {package!r})
import numpy
from nnlab.runs.signals import collect_stop_signals, exit_at_second_signal
signal.signal(signal.SIGTERM, lambda *_: None)
values = numpy.random.default_rng(0).random(6 * 10**7)
with exit_at_second_signal(), collect_stop_signals() as caught:
    for moment in (0.2, 0.4):
        threading.Timer(moment, os.kill, (os.getpid(), signal.SIGTERM)).start()
    while True:
        numpy.sort(values)  # long in C, for which Python's handlers wait
"""


def test_a_second_signal_leaves_even_while_a_program_computes():
    package = str(Path(runs.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", SECOND.format(package=package)], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (143, ""), done.stderr


def test_a_hangup_that_is_ignored_stays_so(tmp_path, often):
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        outcome = run(
            experiment(BASE), RunDirectory(tmp_path / "run"), lambda _: os.kill(os.getpid(), signal.SIGHUP)
        )
    finally:
        signal.signal(signal.SIGHUP, before)
    assert outcome.summary["status"] == "complete"


def test_an_accelerator_without_the_memory_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(device, "memory_limit_bytes", lambda: 10_000)
    with pytest.raises(NnlabError, match=r"device's memory, which has 10 kB; largest layers: dense_1"):
        run(experiment(BASE), RunDirectory(tmp_path / "run"))
    assert list(tmp_path.iterdir()) == []


def test_memory_that_runs_out_is_reported_as_such(tmp_path, monkeypatch):
    def exhausted(*_):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes")
        yield

    monkeypatch.setattr(runs, "train_together", exhausted)
    with pytest.raises(NnlabError, match=r"out of memory; largest layers: dense_1") as error:
        run(experiment(BASE), RunDirectory(tmp_path / "run"))
    assert "\n" not in str(error.value)
    summary = json.loads(Path(tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "failed"
    assert "out of memory" in summary["reason"]
