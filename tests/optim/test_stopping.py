"""What ends a training before its time, and what it chooses: never by the test set."""

import json
import math
import os
import signal
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest
from safetensors.numpy import load_file
from torture.kills import left_by

from nnlab.config.document import parse
from nnlab.config.load import check_tree
from nnlab.config.resolve import resolve
from nnlab.errors import ConfigError
from nnlab.registry import build, components
from nnlab.runs.expectations import run_verdicts
from nnlab.runs.resume import RunTask
from nnlab.runs.run import run, run_together
from nnlab.storage.run_directory import RunDirectory
from nnlab.training import segments
from nnlab.training.experiment import build_experiment

BASE = """\
name: base
data: {type: gaussian, examples: 90, features: 6, classes: 3, split: {train: 30, validation: 30, test: 30},
  batch_size: 10}
model: [{type: dense, units: 16}, batch_norm, relu, {type: dense, units: 3}]
optimizer: {type: adam, learning_rate: 0.05}
train: {epochs: 60, stop: [{type: early_stopping, patience: 4}]}
record: {every: {epochs: 1}, predictions: true}
"""
LOSSES = [3.0, 2.0, 2.5, 1.9, 1.95, 1.92, 1.91, 2.2, 1.0, 0.9]


@pytest.fixture(autouse=True)
def _as_optax_is_written():
    with jax.numpy_dtype_promotion("standard"):
        yield


def experiment(text):
    return build_experiment(check_tree(parse(text, "test.yaml")))


def criterion(config):
    problems = []
    resolved = resolve("stop", config, (), problems)
    assert problems == []
    return build("stop", resolved)


def ends_at(config, values):
    """The record at which it ends, the metric taking these values; None where it never does."""
    stop = criterion(config)
    memory = stop.init()
    sign = -1 if stop.metric.endswith("_accuracy") else 1  # higher is better
    for record, value in enumerate(values):
        memory, ends = stop.update(memory, {stop.metric: jnp.float32(sign * value)})
        if bool(ends):
            return record
    return None


@pytest.mark.parametrize(
    ("config", "record"),
    [
        ({"type": "early_stopping", "patience": 1}, 2),
        ({"type": "early_stopping", "patience": 4}, 7),
        ({"type": "early_stopping", "patience": 5}, None),
        ({"type": "early_stopping", "patience": 2, "min_delta": 0.2}, 3),
        ({"type": "no_decrease", "patience": 4}, 7),
        ({"type": "threshold", "below": 1.91, "metric": "train_loss"}, 3),
        ({"type": "threshold", "below": 0.5, "metric": "validation_loss"}, None),
        ({"type": "rise", "by": 0.2}, 2),
        ({"type": "rise", "by": 0.3}, None),
        ({"type": "early_stopping", "patience": 3, "metric": "validation_accuracy"}, 3),  # it must rise
        ({"type": "no_decrease", "patience": 8, "metric": "train_accuracy"}, 8),
        ({"type": "reached", "above": 3.0}, 0),
        ({"type": "reached", "above": 3.1, "metric": "validation_accuracy"}, None),
    ],
)
def test_criteria_by_hand(config, record):
    assert ends_at(config, LOSSES) == record


@pytest.mark.parametrize(("right", "of"), [(3, 4), (9, 10), (24, 25), (47, 50)])
def test_an_error_is_what_accuracy_leaves(right, of):
    """The boundary itself ends it, also where it is no binary number."""
    below = (of - right) / of
    assert ends_at({"type": "threshold", "below": below}, [0.2, right / of - 1e-3, right / of, 1.0]) == 2


@pytest.mark.parametrize("examples", [10, 41, 47, 55, 82, 107])
def test_all_right_is_an_accuracy_of_one(examples, tmp_path):
    text = BASE.replace("split: {train: 30, validation: 30, test: 30}", "split: {train: 1.0}")
    text = text.replace("examples: 90", f"examples: {examples}").replace("0.05", "0.01").replace("60", "400")
    text = text.replace("{type: early_stopping, patience: 4}", "{type: threshold, below: 0.0}")
    text = (
        text.replace("batch_norm, ", "").replace("units: 16", "units: 64").replace("size: 10", "size: full")
    )
    summary, metrics = finished(text.replace("epochs: 1}", "epochs: 20}"), tmp_path / "run")
    assert summary["stopped_by"] == "threshold"
    assert metrics["train_accuracy"].iloc[-1] == 1.0


def test_a_run_that_diverges_is_not_ended_by_a_criterion(tmp_path):
    text = BASE.replace("{type: adam, learning_rate: 0.05}", "{type: sgd, learning_rate: 1e8}")
    text = text.replace("batch_norm, ", "").replace("{type: early_stopping, patience: 4}", "rise")
    text = text.replace("{every: {epochs: 1}, predictions: true}", "{every: {steps: 1}}")
    summary = run(experiment(text), RunDirectory(tmp_path / "run")).summary
    assert (summary["status"] == "diverged") != ("stopped_by" in summary)


@pytest.mark.parametrize("name", components("stop"))
def test_no_criterion_looks_at_the_test_set(name):
    required = {p.name: 0.1 for p in components("stop")[name].parameters.values() if p.required}
    assert not criterion({"type": name, **required}).metric.startswith("test")
    for metric in ("test_loss", "test_accuracy", "test_error"):
        problems = []
        resolve("stop", {"type": name, **required, "metric": metric}, (), problems)
        assert problems, f"{name} takes {metric}"


# --- in a run ---------------------------------------------------------------------------------------------


def finished(text, place):
    outcome = run(experiment(text), RunDirectory(place))
    assert outcome.summary["status"] == "complete"
    return outcome.summary, pandas.read_csv(place / "metrics.csv")


def test_early_stopping_ends_and_returns_the_minimum(tmp_path):
    summary, metrics = finished(BASE, tmp_path / "run")
    assert (summary["status"], summary["stopped_by"]) == ("complete", "early_stopping")
    losses = metrics["validation_loss"]
    best = int(losses.argmin())
    assert len(metrics) - 1 == best + 4 < 60
    assert summary["selected"]["validation_loss"] == losses.min()
    assert summary["selected"] == {name: metrics[name][best] for name in metrics}
    assert summary["step"] == metrics["step"].iloc[-1]
    # what comes out are the weights of that record, evaluated anew
    table = pandas.read_csv(tmp_path / "run" / "predictions.csv")
    test = table[table["split"] == "test"]
    logits = test.pivot_table(index="example", columns="output", values="prediction").to_numpy()
    labels = test.pivot_table(index="example", columns="output", values="target").to_numpy()
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert -(labels * log_probabilities).sum(-1).mean() == pytest.approx(metrics["test_loss"][best], rel=1e-4)
    assert metrics["test_loss"][best] != pytest.approx(metrics["test_loss"].iloc[-1], rel=1e-2)


def test_a_run_that_is_not_stopped_is_one_without_the_criterion(tmp_path):
    patient = BASE.replace("patience: 4", "patience: 1000").replace("60", "12")
    summary, metrics = finished(patient, tmp_path / "patient")
    _, plain = finished(
        patient.replace(", stop: [{type: early_stopping, patience: 1000}]", ""), tmp_path / "plain"
    )
    pandas.testing.assert_frame_equal(metrics, plain)
    assert "stopped_by" not in summary


def test_a_stopped_run_leaves_the_first_rows_of_the_whole(tmp_path):
    _, stopped = finished(BASE, tmp_path / "stopped")
    _, whole = finished(BASE.replace(", stop: [{type: early_stopping, patience: 4}]", ""), tmp_path / "whole")
    assert len(whole) == 61
    pandas.testing.assert_frame_equal(stopped, whole.iloc[: len(stopped)])


@pytest.mark.parametrize("keep", ["{type: no_decrease, metric: validation_loss, patience: 4}", "no_decrease"])
def test_without_restoring_the_last_weights_come_out(keep, tmp_path):
    text = BASE.replace("{type: early_stopping, patience: 4}", keep).replace("60", "9")
    finished(text, tmp_path / "run")
    table = pandas.read_csv(tmp_path / "run" / "predictions.csv")
    right = [
        rows["prediction"].to_numpy().argmax() == rows["target"].to_numpy().argmax()
        for _, rows in table[table["split"] == "test"].groupby("example")
    ]
    metrics = pandas.read_csv(tmp_path / "run" / "metrics.csv")
    assert np.mean(right) == pytest.approx(metrics["test_accuracy"].iloc[-1])


def test_the_first_of_several_criteria_that_holds_is_named(tmp_path):
    both = "{type: threshold, below: 0.0}, {type: no_decrease, patience: 1, metric: validation_loss}"
    summary, metrics = finished(BASE.replace("{type: early_stopping, patience: 4}", both), tmp_path / "run")
    errors = 1 - metrics["train_accuracy"]
    assert summary["stopped_by"] == ("threshold" if errors.iloc[-1] == 0 else "no_decrease")
    always = ["{type: threshold, below: 1.0}", "{type: threshold, below: 99, metric: train_loss}"]
    for number, order in enumerate((always, always[::-1])):
        text = BASE.replace("{type: early_stopping, patience: 4}", ", ".join(order))
        task, place = experiment(text), tmp_path / str(number)
        seen = []
        run(task, RunDirectory(place), lambda chunk, seen=seen: seen.append(chunk.stopped))
        assert seen[-1] == 1, "both hold at the first record: the first in the list ends it"


@pytest.mark.parametrize("chunks", [1, 6, 15])
def test_an_interrupted_run_ends_where_it_would_have(chunks, tmp_path, monkeypatch):
    """What the criterion, and a schedule that watches the loss, remember is in the checkpoint."""
    text = BASE.replace("0.05", "{type: performance, start: 0.05, patience: 1}")
    expected, _ = finished(text, tmp_path / "whole"), left_by(tmp_path / "whole")
    monkeypatch.setattr(segments, "CHUNK_SECONDS", 1e-9)
    monkeypatch.setattr(segments, "MAXIMUM_FIRST_STEPS", 1)
    seen = []

    def watch(chunk):
        seen.append(chunk.step)
        if len(seen) == chunks:
            os.kill(os.getpid(), signal.SIGTERM)

    assert run(experiment(text), RunDirectory(tmp_path / "run"), watch).signal == signal.SIGTERM
    assert run(experiment(text), RunDirectory(tmp_path / "run")).summary["status"] == "complete"
    assert left_by(tmp_path / "run") == left_by(tmp_path / "whole")
    rates = pandas.read_csv(tmp_path / "run" / "metrics.csv")["learning_rate"]
    assert rates.nunique() > 1
    assert expected[0]["stopped_by"] == "early_stopping"


def test_a_stopped_run_killed_before_it_could_say_so(tmp_path):
    finished(BASE, tmp_path / "run")
    expected = left_by(tmp_path / "run")
    (tmp_path / "run" / "summary.json").write_text('{"status": "running"}')
    assert run(experiment(BASE), RunDirectory(tmp_path / "run")).summary["status"] == "complete"
    assert left_by(tmp_path / "run") == expected


def test_lanes_end_each_at_its_time_and_go_on_without_those_that_did(tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "CHUNK_SECONDS", 1e-9)
    plain = BASE.replace("adam, learning_rate: 0.05", "sgd, learning_rate: 0.3")  # adam enlarges rounding
    texts = [plain.replace("name: base", f"name: base\nseed: {seed}") for seed in (0, 1, 2)]

    def lanes(place):
        return [RunTask(experiment(t), RunDirectory(tmp_path / place / str(i))) for i, t in enumerate(texts)]

    alone = [finished(text, tmp_path / "alone" / str(i))[0] for i, text in enumerate(texts)]
    together = [outcome.summary for outcome in run_together(lanes("together"))]
    steps = [summary["step"] for summary in alone]
    assert [summary["step"] for summary in together] == steps
    assert len(set(steps)) > 1
    assert [summary["stopped_by"] for summary in together] == ["early_stopping"] * 3
    for one, other in zip(alone, together, strict=True):
        assert one["selected"]["validation_loss"] == pytest.approx(
            other["selected"]["validation_loss"], rel=1e-4
        )

    def watch(number, chunk):
        if chunk.step >= sorted(steps)[1] and not killed:  # one has ended, others go on
            killed.append(chunk.step)
            os.kill(os.getpid(), signal.SIGTERM)

    killed = []
    assert signal.SIGTERM in [outcome.signal for outcome in run_together(lanes("resumed"), watch)]
    again = [outcome.summary for outcome in run_together(lanes("resumed"))]
    assert [summary["step"] for summary in again] == steps
    for i in range(3):
        assert left_by(tmp_path / "resumed" / str(i)) == left_by(tmp_path / "together" / str(i))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("train: 30, validation: 30", "train: 60, validation: 0", "early_stopping needs a validation split"),
        ("early_stopping, patience: 4", "early_stoping", "did you mean 'early_stopping'"),
        ("patience: 4", "patience: 0", "a whole number >= 1"),
        ("early_stopping, patience: 4", "threshold", "'below' is missing"),
        ("early_stopping, patience: 4", "reached, above: 1, metric: train_loss", "let it be threshold"),
        (
            "early_stopping, patience: 4",
            "threshold, below: 0.9, metric: train_accuracy",
            "threshold is of .* the lower it is, and train_accuracy .* the higher; let it be reached",
        ),
        ("early_stopping, patience: 4", "rise, metric: train_accuracy", "or no_decrease, which takes"),
        (
            "early_stopping, patience: 4",
            "early_stopping, metric: validation_f1",
            "no metric 'validation_f1' to look at; it is recorded where 'metrics' lists f1 .*; there are",
        ),
        (
            "{type: early_stopping, patience: 4}",
            "early_stopping, {type: early_stopping, metric: validation_accuracy}",
            "by validation_accuracy and by validation_loss; give one",
        ),
        ("0.05", "{type: performance, start: 0.1, metric: test_loss}", "test set, which never chooses"),
        ("0.05", "{type: performance, start: 0.1, metric: validation_f1}", "the schedule has no metric"),
    ],
)
def test_what_does_not_fit_is_refused(old, new, message):
    with pytest.raises(ConfigError, match=message):
        experiment(BASE.replace(old, new))


def test_what_ended_it_can_be_expected(tmp_path):
    expecting = BASE + "expect: {stopped_by: {equals: early_stopping}}\n"
    task = experiment(expecting)
    outcome = run(task, RunDirectory(tmp_path / "run"))
    [(_, _, found, holds, *_)] = run_verdicts(task.config, outcome.summary)
    assert (found, holds) == ("early_stopping", True)
    [(_, _, found, holds, *_)] = run_verdicts(task.config, {**outcome.summary, "stopped_by": "rise"})
    assert (found, holds) == ("rise", False)
    for other in (
        expecting.replace("early_stopping}}", "rise}}"),
        expecting.replace(", stop: [{type: early_stopping, patience: 4}]", ""),
    ):
        with pytest.raises(ConfigError, match="ends no training here"):
            experiment(other)


def test_a_regression_has_no_error_to_fall_below():
    text = BASE.replace("gaussian, examples: 90, features: 6, classes: 3", "linear_teacher, examples: 90")
    text = text.replace("{type: early_stopping, patience: 4}", "{type: threshold, below: 0.1}")
    text = text.replace("units: 3}]", "units: 1}]\nloss: squared_error")
    with pytest.raises(ConfigError, match="threshold of an error needs classes"):
        experiment(text)


# --- the test set never chooses ---------------------------------------------------------------------------


def test_the_test_set_never_chooses_anything(tmp_path, monkeypatch):
    """Another test set: the same weights, the same records but for the test columns, the same choice."""
    text = BASE.replace("0.05", "{type: performance, start: 0.05, patience: 1}")
    found = []
    for scrambled in (False, True):
        task = experiment(text)
        if scrambled:
            test = task.data.test
            wrong = replace(test, inputs=-7.0 * test.inputs[::-1], targets=(test.targets + 1) % 3)
            task = replace(task, data=task.data._replace(test=wrong))
        place = tmp_path / str(scrambled)
        outcome = run(task, RunDirectory(place))
        metrics = pandas.read_csv(place / "metrics.csv")
        of_test = [name for name in metrics if name.startswith("test_")]
        [kept] = (place / "checkpoints").iterdir()
        manifest = json.loads((kept / "manifest.json").read_text())
        weights = {
            (file, name): array.tobytes()
            for file in ("weights", "best", "training")
            for name, array in load_file(kept / f"{file}.safetensors").items()
        }
        selected = {k: v for k, v in outcome.summary["selected"].items() if not k.startswith("test_")}
        chosen = (
            manifest["best"],
            manifest["stopped"],
            selected,
            weights,
            metrics.drop(columns=of_test).to_csv(),
        )
        found.append((chosen, metrics[of_test]))
    assert found[0][0] == found[1][0]
    assert not found[0][1].equals(found[1][1])
    assert math.isfinite(found[1][1].to_numpy().max())


def test_a_search_by_the_test_set_is_refused(nnlab, folder):
    (folder / "search.yaml").write_text(
        BASE + "sweep:\n  random: {draws: 2, axes: {optimizer.learning_rate: {log_uniform: [1e-3, 1]}}}\n"
        "  method: {type: optuna, metric: final.test_loss}\n"
    )
    outcome = nnlab("sweep", "search.yaml", "--dry-run")
    assert outcome.exit_code == 2
    assert "the test set, which never chooses anything" in outcome.stderr
