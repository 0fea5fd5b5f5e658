"""What training is seen through: augmented batches and mixed targets, and looks at the end of a training."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pytest
from support import run_nnlab

from nnlab.config import check_tree
from nnlab.config.document import parse
from nnlab.data.augment import Augmented
from nnlab.errors import ConfigError
from nnlab.registry import section, section_of
from nnlab.runs.results import open_run
from nnlab.storage.tables import read_table
from nnlab.training.experiment import build_experiment
from nnlab.training.loop import train
from nnlab.training.train_step import mixed_loss

FILE = """\
name: seen
data: {type: gaussian, examples: 60, features: 6, classes: 3, batch_size: 10}
model: [{type: dense, units: 4}, relu, {type: dense, units: 3}]
optimizer: {type: sgd, learning_rate: 0.1}
train: {steps: 4}
record: {every: {steps: 2}}
phenomena: [{type: loss_landscape, points: 5, dimensions: 1}]
"""


def experiment(text):
    return build_experiment(check_tree(parse(text, "test.yaml")))


def metrics(text):
    return next(iter(train(experiment(text)))).tables["metrics"]


def test_augmentation_changes_what_is_trained_on_and_nothing_else():
    plain, noisy = metrics(FILE), metrics(FILE + "augment: [{type: noise, std: 2.0}]\n")
    for split in ("train", "validation", "test"):
        assert noisy[f"{split}_loss"][0] == plain[f"{split}_loss"][0]  # before the first step
        assert noisy[f"{split}_loss"][1] != plain[f"{split}_loss"][1]
    assert noisy["grad_norm"][0] != plain["grad_norm"][0]
    again = metrics(FILE + "augment: [{type: noise, std: 2.0}]\n")
    assert all((again[name] == noisy[name]).all() for name in noisy)


def test_a_mixed_target_shares_its_loss_with_its_partner_s():
    random = np.random.default_rng(0)
    outputs, targets = random.standard_normal((3, 3)).astype(np.float32), np.array([0, 2, 1], np.int32)
    seen = Augmented(jnp.zeros((3, 6)), jnp.array([1, 2, 0]), jnp.array([0.0, 0.25, 0.9], jnp.float32))
    found = mixed_loss(experiment(FILE).plan.loss, jnp.asarray(outputs), jnp.asarray(targets), seen)
    log_p = outputs - np.log(np.exp(outputs).sum(1, keepdims=True))
    own, others = -log_p[range(3), targets], -log_p[range(3), targets[[1, 2, 0]]]
    np.testing.assert_allclose(
        found, [own[0], 0.75 * own[1] + 0.25 * others[1], 0.1 * own[2] + 0.9 * others[2]], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("added", "says"),
    [
        ("augment: [{type: rotate}]", "test.yaml:8:11: augment[0]: rotate takes images"),
        ("augment: [mixup, mixup]", "test.yaml:8:18: augment[1]: the examples are mixed already"),
        ("augment: [nois]", "did you mean 'noise'?"),
    ],
)
def test_an_augmentation_that_does_not_fit_is_told_at_its_place(added, says):
    with pytest.raises(ConfigError) as error:
        experiment(f"{FILE}{added}\n")
    assert says in str(error.value)


def test_mixing_needs_two_examples_and_numbers():
    with pytest.raises(ConfigError, match="there is one in it"):
        experiment(FILE.replace("batch_size: 10", "batch_size: 1") + "augment: [mixup]\n")
    tokens = FILE.replace(
        "gaussian, examples: 60, features: 6, classes: 3", "modular_arithmetic, modulus: 3, encoding: tokens"
    )
    embedded = tokens.replace(
        "[{type: dense, units: 4}", "[{type: embedding, vocabulary: 5, units: 4}, flatten"
    )
    with pytest.raises(ConfigError, match="embedding_1 takes tokens"):
        experiment(embedded + "augment: [noise]\n")


def test_a_run_that_diverged_or_is_under_way_has_no_look_at_the_end(folder):
    (folder / "seen.yaml").write_text(FILE)
    wild = ["optimizer.learning_rate=1e30", "train.steps=40"]
    assert run_nnlab("train", "seen.yaml", *wild, "--out", "wild", "--quiet").exit_code == 3
    run = open_run(folder / "wild")
    assert "loss_landscape" not in run.tables
    numbers = run.summary["loss_landscape"]
    assert numbers.pop("reason") == "training diverged"
    assert set(numbers.values()) == {None}
    assert not (folder / "wild" / "plots").exists()  # the training has a single record, which is no curve
    plotted = run_nnlab("plot", "wild")
    assert plotted.exit_code == 2
    assert "training_curves.png: not drawn: there is nothing in it" in plotted.stderr


def test_a_run_that_is_lengthened_looks_at_its_new_end(folder):
    (folder / "seen.yaml").write_text(FILE)
    assert run_nnlab("train", "seen.yaml", "--out", "run", "--quiet").exit_code == 0
    assert set(read_table(folder / "run" / "loss_landscape.csv")["step"]) == {4}
    longer = ["train.steps=6", "--out", "run", "--resume", "--allow-drift", "--quiet"]
    assert run_nnlab("train", "seen.yaml", *longer).exit_code == 0
    table = read_table(folder / "run" / "loss_landscape.csv")
    assert set(table["step"]) == {6}
    assert len(table) == 5


def test_the_end_is_seen_with_the_weights_that_come_out(folder):
    stopping = FILE.replace(
        "train: {steps: 4}", "train: {steps: 40, stop: [{type: early_stopping, patience: 2}]}"
    )
    (folder / "seen.yaml").write_text(stopping.replace("learning_rate: 0.1", "learning_rate: 30.0"))
    assert run_nnlab("train", "seen.yaml", "--out", "run", "--quiet").exit_code == 0
    run = open_run(folder / "run")
    assert run.summary["selected"]["step"] < run.summary["step"]
    assert run.summary["loss_landscape"]["minimum"] == pytest.approx(
        run.summary["selected"]["train_loss"], rel=1e-5
    )


def test_a_key_that_is_a_word_of_python_s_has_an_underscore_there():
    @section()
    @dataclass
    class Source:
        from_: str
        layers: int = 3

    source = section_of(Source)
    assert list(source.parameters) == ["from", "layers"]
    assert source.construct({"from": "there", "layers": 2}) == Source("there", 2)
