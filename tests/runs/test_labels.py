"""What results are called where several come together: by what they differ in."""

from dataclasses import replace
from pathlib import Path

import pytest

from nnlab.config import check_tree
from nnlab.config.document import parse
from nnlab.runs.labels import with_distinct_labels
from nnlab.runs.results import Run

TEXT = """\
name: {name}
seed: {seed}
data: {{type: xor, examples: 60, label_noise: {noise}}}
model: [{{type: dense, units: {units}}}, {activation}, {{type: dense, units: 2}}]
optimizer: {{type: sgd, learning_rate: {rate}}}
train: {{steps: {steps}}}
"""
BASE = {"name": "xor", "seed": 0, "noise": 0.0, "units": 4, "activation": "tanh", "rate": 0.1, "steps": 5}


def run_of(folder="a", **changed):
    return Run(Path(folder), check_tree(parse(TEXT.format(**BASE | changed), "f.yaml")), {}, {})


@pytest.mark.parametrize(
    ("changes", "labels"),
    [
        ([{}, {"rate": 0.5}], ["learning rate 0.1", "learning rate 0.5"]),
        ([{"name": "a", "noise": 0.15}, {"name": "b"}], ["a", "b"]),
        (
            [{"name": "a", "rate": 1}, {"name": "b"}, {"name": "b", "rate": 2}],
            ["learning rate 1", "learning rate 0.1", "learning rate 2"],
        ),
        ([{"noise": 0.15}, {}], ["label noise 0.15", "label noise 0"]),
        ([{"noise": 0.15}, {"noise": "null"}], ["label noise 0.15", "label noise none"]),
        ([{"seed": 1}, {"seed": 2}, {"seed": 3}], ["seed 1", "seed 2", "seed 3"]),
        (
            [{"units": 8, "rate": 1}, {"units": 4, "rate": 1}, {"units": 4, "rate": 2}],
            [
                "units of layer 1 = 8, learning rate 1",
                "units of layer 1 = 4, learning rate 1",
                "units of layer 1 = 4, learning rate 2",
            ],
        ),
        ([{"name": "a", "rate": 1, "units": 8, "steps": 9}, {"name": "b"}], ["a", "b"]),
        ([{"rate": 1, "units": 8, "steps": 9}, {}], ["first", "second"]),
        ([{}, {}], ["first", "second"]),
        ([{"name": "a"}, {"name": "b"}], ["a", "b"]),
        ([{"rate": 0.5}], ["xor"]),
    ],
)
def test_a_label_names_what_differs(changes, labels):
    folders = ("first", "second", "third")
    runs = [run_of(folder, **changed) for folder, changed in zip(folders, changes, strict=False)]
    assert [run.label for run in with_distinct_labels(runs)] == labels


def test_a_title_that_was_given_stays():
    runs = [replace(run_of(), title="mine"), run_of(rate=0.5)]
    assert [run.label for run in with_distinct_labels(runs)] == ["mine", "learning rate 0.5"]


def test_components_are_said_without_underscores():
    runs = [run_of(activation=text) for text in ("tanh", "scaled_tanh")]
    assert [run.label for run in with_distinct_labels(runs)] == ["layer 2 = tanh", "layer 2 = scaled tanh"]
