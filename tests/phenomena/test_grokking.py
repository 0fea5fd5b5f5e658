"""Grokking: detectors on constructed curves, progress measures in closed form, shipped runs and controls."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest
from support import FakeRun, FakeSweep, run_nnlab

from nnlab.config import load
from nnlab.data.datasets.arithmetic import encode_pairs
from nnlab.data.examples import classification_examples
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.attention import attention
from nnlab.nn.combinators import sequential
from nnlab.nn.dense import dense
from nnlab.nn.embedding import embedding
from nnlab.nn.layer import Output
from nnlab.nn.model import build_model
from nnlab.optim.losses import cross_entropy
from nnlab.phenomena.generalization import answers, grokking, grokking_delay, progress_measures
from nnlab.phenomena.probe import Batch, Snapshot
from nnlab.runs.results import open_run
from nnlab.runs.run import run
from nnlab.storage.run_directory import RunDirectory
from nnlab.training.experiment import build_experiment

FOLDER = Path(__file__).parents[2] / "experiments"


# --- the detector of a run -------------------------------------------------------------------------------


def detected(train, validation, steps=None, classes=10, split="validation"):
    steps = steps or [0, *(10**i for i in range(len(train) - 1))]
    metrics = pandas.DataFrame(
        {"step": steps, "train_accuracy": train, f"{split}_accuracy": validation, f"{split}_loss": 1.0}
    )
    return grokking.detect(FakeRun({"metrics": metrics}, {"classes": classes}))


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_numbers_of_a_run_that_groks(split):
    numbers = detected(
        [0.1, 0.5, 0.99, 1.0, 1.0], [0.1, 0.1, 0.2, 0.3, 0.97], split=split
    )  # steps 0 1 10 100 1000
    assert numbers == grokking.Grokking(10, 1000, 100.0, 0.1, 0.2, 2.0, 1.0, 0.97, "grokking")


@pytest.mark.parametrize(
    ("train", "validation", "verdict"),
    [
        ([0.1, 0.99, 1.0], [0.1, 0.3, 0.95], "grokking"),  # steps 0, 1, 10; three times chance
        ([0.1, 0.99, 1.0], [0.1, 0.31, 0.95], "generalised"),
        ([0.1, 0.99, 1.0], [0.1, 0.1, 0.949], "memorised"),
        ([0.1, 0.1, 1.0], [0.1, 0.95, 0.96], "generalised"),  # understood before it is known
        ([0.1, 0.5, 0.98], [0.1, 0.5, 0.96], "generalised"),  # never known by heart
        ([0.1, 0.5, 0.98], [0.1, 0.5, 0.6], "neither"),
        ([0.1, 1.0, 0.5], [0.1, 0.1, 0.1], "neither"),  # forgotten again
        ([0.1, 1.0, 1.0, 1.0], [0.1, 0.1, 0.96, 0.5], "memorised"),  # understood, and lost again
    ],
)
def test_the_verdict_on_both_sides_of_each_bound(train, validation, verdict):
    assert detected(train, validation).verdict == verdict


@pytest.mark.parametrize(("later", "verdict"), [(100, "grokking"), (99, "generalised")])
def test_ten_times_later_is_what_counts(later, verdict):
    numbers = detected([0.1, 1.0, 1.0], [0.1, 0.1, 0.96], steps=[0, 10, later])
    assert numbers.verdict == verdict
    assert numbers.delay_ratio == later / 10


def test_a_summary_of_another_version_is_no_traceback():
    metrics = pandas.DataFrame({"step": [0], "train_accuracy": [0.1], "validation_accuracy": [0.1]})
    with pytest.raises(InvalidValue, match="does not say how many classes"):
        grokking.detect(FakeRun({"metrics": metrics}, {}))


def test_what_never_comes_has_no_number():
    numbers = detected([0.1, 0.5], [0.1, 0.5])
    assert (numbers.memorisation_step, numbers.generalisation_step, numbers.delay_ratio) == (None, None, None)
    assert (numbers.validation_at_memorisation, numbers.times_chance) == (None, None)
    assert detected([math.nan, math.nan], [math.nan, math.nan]).verdict == "neither"
    assert detected([0.99, 1.0], [0.1, 0.96], steps=[0, 5]).delay_ratio == 5  # known from the start: step 1


# --- the detector of a sweep -----------------------------------------------------------------------------

INF = math.inf


@pytest.mark.parametrize(
    ("ratios", "falls", "rises"),
    [
        ([50.0, 20.0, 3.0], True, False),
        ([3.0, 20.0, 50.0], False, True),
        ([50.0, 20.0, 20.0], False, False),
        ([50.0, 10.0, 20.0], False, False),
        ([INF, 50.0, 20.0, 3.0], True, False),
        ([INF, INF, 50.0, 3.0], False, False),  # two points are no trend
        ([50.0, INF, 20.0, 3.0], False, False),
        ([50.0, 20.0, 3.0, INF], False, False),
        ([3.0, 20.0, 50.0, INF], False, True),
        ([INF, INF, INF], False, False),
    ],
)
def test_falling_and_rising(ratios, falls, rises):
    ratios = np.array(ratios)
    numbers = grokking_delay.detect(ratios, 10 * ratios)
    assert (numbers.falls, numbers.rises) == (falls, rises)
    assert numbers.generalising_points == np.isfinite(ratios).sum()
    ends = [ratios[0], ratios[-1]]
    assert numbers.speedup == (pytest.approx(ends[0] / ends[1]) if np.isfinite(ends[0]) else None)


def test_medians_over_seeds_count_what_never_comes_as_latest():
    trials = pandas.DataFrame(
        {
            "decay": [1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 0.5, 0.5, 0.5],
            "seed": [0, 1, 2] * 3,
            "status": ["complete"] * 8 + ["diverged"],
            "grokking.verdict": "grokking",
            "grokking.delay_ratio": [30, None, 20, 5, 6, 7, 80, None, 90],
            "grokking.generalisation_step": [300, None, 200, 50, 60, 70, 800, None, 900],
        }
    )
    sweep = FakeSweep(trials, axes=("decay",))
    for name, expected in (("delay_ratio", [INF, 30, 6]), ("generalisation_step", [INF, 300, 60])):
        points, numbers = grokking_delay.medians_over_seeds(sweep, "decay", name)
        assert points.tolist() == [0.5, 1.0, 2.0]
        assert numbers.tolist() == expected


def test_a_sweep_whose_trials_all_diverged_has_no_delays():
    trials = pandas.DataFrame({"decay": [1.0], "seed": [0], "status": ["diverged"]})
    with pytest.raises(InvalidValue, match="no trial is complete"):
        grokking_delay.medians_over_seeds(FakeSweep(trials, axes=("decay",)), "decay", "delay_ratio")


SWEEP = """\
name: swept
data: {type: modular_arithmetic, modulus: 5, split: {train: 0.6, validation: 0.4}}
model: [{type: dense, units: 5}]
train: {steps: 4}
record: {every: {steps: 1}, layers: false}
phenomena: [%s]
sweep: {%s}
"""


@pytest.mark.parametrize(
    ("phenomena", "sweep", "said"),
    [
        ("{type: grokking_delay, along: seed}", "seeds: 2", "'seed' is no axis of the sweep"),
        ("{type: grokking_delay, along: epochs}", "seeds: 2", "'epochs' is no axis of a sweep"),
        (
            "{type: grokking_delay, along: optimizer.learning_rate}",
            "axes: {optimizer.learning_rate: [1, 2]}",
            "reads the numbers of grokking; add grokking to 'phenomena'",
        ),
        (
            "grokking, {type: grokking_delay, along: data.operation}",
            "random: {draws: 2, axes: {data.operation: {choice: [x+y, x-y]}}}",
            "reads along numbers",
        ),
    ],
)
def test_a_delay_along_what_is_no_axis_is_refused(phenomena, sweep, said, folder):
    (folder / "swept.yaml").write_text(SWEEP % (phenomena, sweep))
    result = run_nnlab("sweep", "swept.yaml")
    assert result.exit_code == 2
    assert said in result.stderr
    assert [path.name for path in folder.iterdir()] == ["swept.yaml"]


def test_a_sweep_that_diverges_throughout_ends_without_a_traceback(folder):
    rates = "optimizer.learning_rate: [1.0e+30, 1.0e+31, 1.0e+32]"
    text = SWEEP % ("grokking, {type: grokking_delay, along: optimizer.learning_rate}", f"axes: {{{rates}}}")
    (folder / "swept.yaml").write_text(
        text.replace("units: 5}", "units: 5}, square, {type: dense, units: 5}")
    )
    result = run_nnlab("sweep", "swept.yaml", "--out", "swept", "--jobs", 1)
    assert result.exit_code == 0, result.stderr
    assert "3 diverged" in result.stdout
    assert "no trial is complete" in result.stdout


# --- progress measures in closed form --------------------------------------------------------------------

P = 7
F = 3
X, Y = (axis.reshape(-1) for axis in np.indices((P, P)))
NETS = {
    "one_hot": build_model(dense(P, use_bias=False), (2 * P,)),
    "tokens": build_model(sequential([embedding(P + 2, P), attention(1, read=-1)]), (4,)),
}
DATA = {
    name: Data(classification_examples(encode_pairs(X, Y, P, name), (X + Y) % P, P), None, None)
    for name in NETS
}


def waves(frequency, phase=0.0):
    """[P, P]: logits by sum of the operands, a wave of one frequency that is highest at the right answer."""
    sums, answer = np.indices((P, P))
    return 3 * np.cos(2 * np.pi * frequency * (sums - answer) / P + phase)


def snapshot(net, logits, train=slice(None), **changed):
    """A net whose weights are those of step 0 (but for `changed`) and whose outputs are given, `[P^2, P]`."""
    params, _ = NETS[net].init(0)
    path = next(iter(params))
    params[path] |= changed
    inputs, targets = DATA[net].train.inputs, DATA[net].train.targets

    def outputs(asked):  # each pair is known by its inputs
        place = (asked[:, None] == jnp.asarray(inputs)[None]).all(-1).argmax(-1)
        return jnp.asarray(logits, jnp.float32)[place]

    batch = Batch(jnp.asarray(inputs[train]), jnp.asarray(targets[train], jnp.int32))

    def evaluated(_, inputs):
        return Output(outputs(inputs))

    nothing = [None] * 4
    return Snapshot(params, params, *nothing, {"train": batch}, evaluated, None, cross_entropy(), None)


def measured(net, logits, keys=1, train=slice(None), **changed):
    """restricted_loss, excluded_loss and ipr, and the spectrum."""
    seen, (progress, spectrum) = (
        snapshot(net, logits, train, **changed),
        progress_measures.progress_measures(keys).probes,
    )
    numbers = dict(zip(progress.columns, progress.measure(NETS[net].setup, seen), strict=True))
    assert all(value.shape == (1,) for value in numbers.values())
    return {name: float(value[0]) for name, value in numbers.items()}, np.asarray(
        spectrum.measure(NETS[net].setup, seen)[0]
    )


def mean_loss(logits, targets):
    shifted = logits - logits.max(-1, keepdims=True)
    return (np.log(np.exp(shifted).sum(-1)) - shifted[np.arange(len(targets)), targets]).mean()


@pytest.mark.parametrize("net", NETS)
def test_a_net_of_one_wave_is_restricted_to_itself_and_excluded_to_chance(net):
    sums = (X + Y) % P
    numbers, _ = measured(net, waves(2)[sums])
    assert numbers["restricted_loss"] == pytest.approx(mean_loss(waves(2)[sums], sums), rel=1e-5)
    assert numbers["excluded_loss"] == pytest.approx(math.log(P), rel=1e-5)


@pytest.mark.parametrize("net", NETS)
def test_waves_are_told_from_what_is_known_by_heart(net):
    """Logits of a weak and a strong wave, a constant, and noise by pair: by NumPy, from the definitions."""
    random, sums = np.random.default_rng(0), (X + Y) % P
    bias = random.standard_normal(P)
    by_heart = 4 * random.standard_normal((P * P, P))
    for s in range(P):  # what is the same for all pairs of a sum would be a wave
        by_heart[sums == s] -= by_heart[sums == s].mean(0)
    logits = (0.3 * waves(1) + waves(3))[sums] + bias + by_heart
    train = slice(0, 20)
    for keys, strong in ((1, waves(3)), (2, 0.3 * waves(1) + waves(3)), (99, 0.3 * waves(1) + waves(3))):
        numbers, _ = measured(net, logits, keys, train)
        assert numbers["restricted_loss"] == pytest.approx(mean_loss(strong[sums] + bias, sums), rel=1e-4)
        rest = logits[train] - strong[sums[train]]
        assert numbers["excluded_loss"] == pytest.approx(mean_loss(rest, sums[train]), rel=1e-4)


def test_the_embedding_s_waves_and_their_participation():
    """One frequency a feature is 1, all alike 1 / F; both operands count, and the constant does not."""
    places = np.arange(P)[:, None]
    pure = np.cos(2 * np.pi * places * np.array([1, 1, 2, 2, 2, 3, 3]) / P + np.arange(P))
    logits = np.zeros((P * P, P))
    kernel = jnp.asarray(np.concatenate([pure, 2 * pure + 5]), jnp.float32)
    numbers, spectrum = measured("one_hot", logits, kernel=kernel)
    assert numbers["ipr"] == pytest.approx(1.0, rel=1e-5)
    np.testing.assert_allclose(spectrum / spectrum.sum(), np.array([2, 3, 2]) / 7, rtol=1e-5)

    impulse = np.eye(P)
    table = jnp.asarray(
        np.concatenate([impulse, np.full((2, P), 9.0)]), jnp.float32
    )  # operator, equals: left out
    numbers, spectrum = measured("tokens", logits, embedding=table)
    assert numbers["ipr"] == pytest.approx(1 / F, rel=1e-5)
    np.testing.assert_allclose(spectrum, spectrum[0], rtol=1e-5)
    assert measured("one_hot", logits, kernel=jnp.zeros((2 * P, P)))[0]["ipr"] == 0


def test_the_numbers_of_progress_are_those_of_its_first_and_last_record():
    progress = pandas.DataFrame(
        {"step": [0, 5], "restricted_loss": [2.0, 0.1], "excluded_loss": [2.0, 3.0], "ipr": [0.2, 0.9]}
    )
    spectrum = pandas.DataFrame(
        {"step": [0] * 3 + [5] * 3, "frequency": [1, 2, 3] * 2, "power": [1.0, 1.0, 2.0, 6.0, 1.0, 3.0]}
    )
    numbers = progress_measures.detect(FakeRun({"progress": progress, "spectrum": spectrum}, {}), keys=2)
    assert numbers == progress_measures.ProgressMeasures(0.2, 0.9, 0.75, pytest.approx(0.9), "1 3", 0.1, 3.0)
    spectrum["power"] = math.nan  # of a run that diverged at its first step
    broken = progress_measures.detect(FakeRun({"progress": progress, "spectrum": spectrum}, {}), keys=2)
    assert math.isnan(broken.final_key_share)


# --- the table of answers --------------------------------------------------------------------------------


def test_the_numbers_of_the_table_of_answers():
    rows = [  # step, split, x, y, right
        *[
            (0, "train", 0, 0, 0),
            (0, "validation", 0, 1, 0),
            (0, "validation", 1, 0, 1),
            (0, "test", 1, 1, 0),
        ],
        *[
            (4, "train", 0, 0, 1),
            (4, "validation", 0, 1, 1),
            (4, "validation", 1, 0, 0),
            (4, "test", 1, 1, 0),
        ],
        *[
            (9, "train", 0, 0, 1),
            (9, "validation", 0, 1, 1),
            (9, "validation", 1, 0, 1),
            (9, "test", 1, 1, 0),
        ],
    ]
    table = pandas.DataFrame(rows, columns=["step", "split", "x", "y", "right"])
    numbers = answers.detect(table)
    assert numbers == answers.Answers(4, pytest.approx(1 / 3), 6.5)  # lasting since 4 and since 9


# --- trained ---------------------------------------------------------------------------------------------


def trained(place, name, *overrides):
    outcome = run(build_experiment(load(FOLDER / f"{name}.yaml", overrides)), RunDirectory(place))
    assert outcome.summary["status"] == "complete"
    return outcome.summary


@pytest.fixture
def promotion():
    """Not as strict as conftest.py: optax's Adam raises a float to an int32 power."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.usefixtures("promotion")
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("grokking_mod31", "grokking"),
        ("grokking_mod31_no_decay", "memorised"),
        ("grokking_mod31_scalar", "neither"),
    ],
)
def test_the_shipped_run_and_its_controls(name, verdict, seed, tmp_path):
    """At full length; the inside view is left out."""
    numbers = trained(tmp_path / "run", name, "+record.layers=false", f"seed={seed}")["grokking"]
    assert numbers["verdict"] == verdict
    if verdict == "grokking":
        assert numbers["delay_ratio"] >= 10
        assert numbers["times_chance"] <= 3
    else:
        assert numbers["final_validation_accuracy"] < 0.2


@pytest.mark.usefixtures("promotion")
def test_the_inside_of_the_shipped_run(tmp_path):
    """Half its length. What is right in the table of answers is what the accuracies count."""
    numbers = trained(tmp_path / "run", "grokking_progress", "train.steps=2000", "record.log_spaced=30")
    assert numbers["progress_measures"]["final_ipr"] > 0.7 > 0.2 > numbers["progress_measures"]["initial_ipr"]
    assert numbers["progress_measures"]["final_restricted_loss"] < 0.1 < 0.5
    assert numbers["progress_measures"]["final_excluded_loss"] > 0.5
    tables = open_run(tmp_path / "run").tables
    for split in ("train", "validation"):
        share = tables["answers"].query(f"split == '{split}'").groupby("step")["right"].mean()
        np.testing.assert_allclose(share, tables["metrics"][f"{split}_accuracy"], atol=1e-6)
    assert tables["answers"].groupby("step").size().eq(961).all()


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_run_too_short_for_a_curve_has_no_figure_of_it(steps, folder):
    (folder / "short.yaml").write_text(
        BASE % ("", PLAIN, "grokking, answers, progress_measures") + f"train: {{steps: {steps}}}\n"
    )
    text = (folder / "short.yaml").read_text().replace("train: {steps: 3}\n", "")
    (folder / "short.yaml").write_text(text + "record: {every: {steps: 1}}\n")
    result = run_nnlab("train", "short.yaml", "--out", "run")
    assert result.exit_code == 0, result.stderr
    assert (folder / "run" / "plots" / "grokking.png").exists() == (steps == 2)
    asked = run_nnlab("plot", "run", "--figure", "grokking")
    assert (asked.exit_code, "needs two records" in asked.stderr) == ((0, False) if steps == 2 else (2, True))


# --- what does not fit -----------------------------------------------------------------------------------

BASE = """\
name: bad
data: {type: modular_arithmetic, modulus: 5, split: {train: 0.6, validation: 0.4}%s}
model: [%s]
train: {steps: 3}
phenomena: [%s]
"""
TOKENS = ", encoding: tokens"
EMBEDDED = "{type: embedding, vocabulary: 7, units: 4}, flatten, {type: dense, units: 5}"
PLAIN = "{type: dense, units: 5}"


@pytest.mark.parametrize(
    ("data", "model", "phenomenon", "said"),
    [
        (
            TOKENS,
            EMBEDDED.replace("7", "6"),
            "grokking",
            "model: embedding_1 has a vocabulary of 6, and among",
        ),
        (TOKENS + ", normalize: standardize", EMBEDDED, "grokking", "takes tokens, whole numbers from 0 on"),
        (TOKENS, "relu, " + EMBEDDED, "grokking", "embedding_1 takes tokens; it must be the first layer"),
        (
            ", encoding: scalar",
            PLAIN,
            "progress_measures",
            "phenomena[0]: progress_measures reads the embedding",
        ),
        (", operation: x*y", PLAIN, "progress_measures", "phenomena[0]: progress_measures is one of x+y"),
        (", normalize: standardize", PLAIN, "progress_measures", "no pairs of 5 operands"),
        (", normalize: standardize, encoding: binary", PLAIN, "answers", "no pairs of 5 operands"),
        (", label_noise: 0.5", PLAIN, "progress_measures", "or have wrong labels"),
        (
            "",
            PLAIN,
            "{type: grokking_delay, along: seed}",
            "phenomena[0]: grokking_delay is seen across a sweep",
        ),
    ],
)
def test_what_does_not_fit_costs_one_line(data, model, phenomenon, said, folder):
    (folder / "bad.yaml").write_text(BASE % (data, model, phenomenon))
    result = run_nnlab("train", "bad.yaml")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert said in result.stderr
    assert [path.name for path in folder.iterdir()] == ["bad.yaml"]


@pytest.mark.parametrize(
    ("data", "phenomenon", "said"),
    [
        ("{type: diabetes}", "grokking", "these data have no classes"),
        ("{type: wine, split: {train: 1.0}}", "grokking", "give data.split a validation share"),
        ("{type: wine}", "answers", "no pairs of 3 operands"),
        ("{type: gaussian, examples: 60, features: 6, classes: 3}", "answers", "no pairs of 3 operands"),
        ("{type: gaussian, examples: 50000, features: 6, classes: 3}", "answers", "of 40,000 at most"),
    ],
)
def test_phenomena_say_what_data_they_need(data, phenomenon, said, folder):
    outputs, loss = (1, "squared_error") if "diabetes" in data else (3, "cross_entropy")
    (folder / "bad.yaml").write_text(
        f"name: bad\ndata: {data}\nmodel: [{{type: dense, units: {outputs}}}]\nloss: {loss}\n"
        f"train: {{steps: 3}}\nphenomena: [{phenomenon}]\n"
    )
    result = run_nnlab("validate", "bad.yaml")
    assert result.exit_code == 2
    assert said in result.stderr
    assert "bad.yaml:6:13: phenomena[0]: " in result.stderr
