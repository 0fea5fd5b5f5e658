"""What was asked, as lines: they are YAML that reads back to the config, and say what each key means."""

from pathlib import Path

import pytest

import nnlab
from nnlab.config.document import parse
from nnlab.registry import KINDS, components
from nnlab.reports.settings import differences_of, lines_of, said_once

SHIPPED = sorted((Path(__file__).parents[2] / "experiments").glob("*.yaml"))
GIVEN = """\
name: given
data: {type: xor, examples: 80, label_noise: 0.1}
model: [{type: dense, units: 4, kernel_init: {type: he_normal, gain: 2.0}}, relu, {type: dense, units: 2}]
optimizer: {type: sgd, learning_rate: 0.1}
train: {steps: 20}
expect: {final.train_loss: {max: 1}}
"""


def yaml_of(lines):
    return "\n".join("  " * line.indent + line.text for line in lines)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_the_lines_are_the_config(file):
    tree = nnlab.load(file).tree
    lines = lines_of(tree)
    assert parse(yaml_of(lines), "lines").tree == tree
    assert all(not line.differs for line in lines)


@pytest.fixture
def given(folder):
    (folder / "given.yaml").write_text(GIVEN)
    return nnlab.load(folder / "given.yaml").tree


def test_what_the_file_gave_is_told_from_what_it_left(given):
    lines = lines_of(given)
    written = {line.path for line in lines if not line.is_default}
    asked = ["name", "data", "data.type", "data.examples", "data.label_noise", "data.label_noise.fraction"]
    asked += ["model", "model[0].type", "model[0].units", "model[0].kernel_init", "model[0].kernel_init.type"]
    asked += ["model[0].kernel_init.gain", "model[1]", "model[2].type", "model[2].units"]
    asked += ["optimizer", "optimizer.type", "optimizer.learning_rate", "train", "train.steps"]
    asked += ["expect", "expect.final.train_loss", "expect.final.train_loss.max"]
    assert written == set(asked)


def test_each_key_says_what_it_means(given):
    meanings = {line.path: line.meaning for line in lines_of(given)}
    assert meanings["seed"].startswith("Of everything that is drawn at random. `random` draws one")
    assert meanings["data.type"] == components("dataset")["xor"].headline
    assert meanings["data.batch_size"] == "Examples in a step, or `full` for all."
    assert meanings["model[0].units"] == components("layer")["dense"].key_texts["units"]
    assert meanings["model[1]"] == components("layer")["relu"].headline
    assert meanings["data.label_noise.fraction"] == "The fraction of the labels, in [0, 1]."


def test_what_differs_is_marked(given):
    other = {**given, "seed": 3, "model": [{**given["model"][0], "units": 8}, *given["model"][1:]]}
    longer = {**given, "model": [*given["model"], "relu"]}
    rows = differences_of([given, other, longer])
    assert [(row.path, row.values) for row in rows] == [
        ("model[0].units", ["4", "8", "4"]),
        ("seed", ["0", "3", "0"]),
        ("model[3]", ["-", "-", "relu"]),
    ]
    marked = {line.path for line in lines_of(given, frozenset(row.path for row in rows)) if line.differs}
    assert marked == {"model", "model[0].units", "seed"}


def test_each_meaning_is_said_once_and_beside_what_was_given(given):
    lines = lines_of(given)
    first, second = said_once([lines, lines])
    assert [line._replace(meaning="") for line in first] == [line._replace(meaning="") for line in lines]
    said = [line.meaning for line in first if line.meaning]
    assert sorted(said) == sorted({line.meaning for line in lines} - {""})
    assert not any(line.meaning for line in second)
    by_path = {line.path: line for line in first}
    assert by_path["model[0].kernel_init.gain"].meaning  # and not at that of the second layer, a default


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_of_a_component_has_a_meaning(kind):
    """What `nnlab show` and a report say of it."""
    silent = [
        f"{name}.{key}"
        for name, component in components(kind).items()
        for key in component.parameters
        if key not in component.key_texts
    ]
    assert silent == []
