"""The table `between` of a sweep: which trials are joined, what stands in it, and that it stays the same."""

import json

import pandas
import pytest
from support import run_nnlab

import nnlab

pytestmark = pytest.mark.usefixtures("sweeps_here")

BASE = """\
name: between
data: {type: wine, normalize: standardize, split: {test: 0.3, seed: 0}, order: {from_step: 0, seed: 0}}
model: [{type: dense, units: 4}, tanh, {type: dense, units: 3}]
optimizer: {type: sgd, learning_rate: 0.1}
train: {steps: 8}
record: {every: {steps: 4}, layers: false}
"""
TWINS = f"""{BASE}
phenomena: [{{type: mode_connectivity, points: 3}}]
sweep: {{axes: {{data.order.from_step: [0, 6], data.order.seed: [1, 2]}}, seeds: 2}}
"""
SEEDS = f"{BASE}\nphenomena: [{{type: matched_units, points: 3}}]\nsweep: {{seeds: 3}}\n"


def swept(text, folder, *words, code=0):
    (folder / "sweep.yaml").write_text(text)
    result = run_nnlab(
        "sweep", folder / "sweep.yaml", "--out", folder / "out", "--jobs", 1, "--quiet", *words
    )
    assert result.exit_code == code, result.stderr
    return nnlab.open(folder / "out")


def test_twins_are_joined_at_each_step_and_seed(tmp_path):
    sweep = swept(TWINS, tmp_path)
    table = sweep.joined("between")
    assert len(table) == 2 * 2 * 3  # steps, seeds, points
    header = (sweep.path / "between.csv").read_text().partition("\n")[0]
    measured = "train_loss,train_accuracy,test_loss,test_accuracy"
    assert header == f"along,trial,other,matched,share,{measured}"
    ends = table.merge(sweep.trials, left_on="other", right_on="trial", suffixes=("", "_of_other"))
    for same in ("data.order.from_step", "seed"):
        assert (ends[same] == ends[f"{same}_of_other"]).all()
    assert (ends["data.order.seed"] < ends["data.order.seed_of_other"]).all()
    runs = {run.path.name: run for run in sweep.runs}
    for (trial, other), line in table.groupby(["trial", "other"]):
        expected = nnlab.interpolate(runs[trial], runs[other], points=3)
        found = line[list(expected)].astype(float).reset_index(drop=True)
        pandas.testing.assert_frame_equal(found, expected.astype(float), rtol=1e-6, atol=1e-7)
    assert sweep.numbers["mode_connectivity.end_error"] is not None


def test_run_again_it_is_the_same_and_with_more_values_it_grows(tmp_path):
    sweep = swept(SEEDS, tmp_path)
    before = (sweep.path / "between.csv").read_bytes(), (sweep.path / "summary.json").read_bytes()
    sweep = swept(SEEDS, tmp_path)
    assert ((sweep.path / "between.csv").read_bytes(), (sweep.path / "summary.json").read_bytes()) == before
    more = swept(SEEDS.replace("seeds: 3", "seeds: 4"), tmp_path).joined("between")
    assert len(more) == 6 * 2 * 3


def test_seeds_are_joined_as_they_are_and_matched(tmp_path):
    table = swept(SEEDS, tmp_path).joined("between")
    assert len(table) == 3 * 2 * 3
    plain, matched = (table[table["matched"] == way].reset_index(drop=True) for way in (0, 1))
    ends = plain["share"] != 0.5
    assert (plain["train_loss"][ends] - matched["train_loss"][ends]).abs().max() < 1e-5
    assert (plain["train_loss"][~ends] != matched["train_loss"][~ends]).any()


def test_weights_that_are_gone_are_the_reason(tmp_path):
    sweep = swept(SEEDS, tmp_path)
    for file in sweep.path.glob("trials/*/checkpoints/*/*"):
        file.unlink()
    (tmp_path / "out" / "between.csv").unlink()
    swept(SEEDS, tmp_path)
    numbers = json.loads((tmp_path / "out" / "summary.json").read_text())["matched_units"]
    assert "checkpoint" in numbers.pop("reason")
    assert set(numbers.values()) == {None}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            TWINS.replace("data.order.seed: [1, 2]", "model.0.units: [2, 3]"),
            "'data.order.seed' is no axis of the sweep",
        ),
        (SEEDS.replace("tanh,", "batch_norm,"), "units are matched in a chain of dense layers"),
        (
            SEEDS.replace("seeds: 3", "axes: {model.0.units: [2, 3]}"),
            "matched_units is seen along seeds alone",
        ),
    ],
)
def test_what_cannot_be_joined_is_refused_before_anything_runs(text, message, tmp_path):
    (tmp_path / "sweep.yaml").write_text(text)
    result = run_nnlab("sweep", tmp_path / "sweep.yaml", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_sweep_that_is_solved_for_has_no_weights_to_join(tmp_path):
    text = (
        "name: solved\ndata: {type: wine, split: {test: 0.3, seed: 0}}\n"
        "model: [{type: dense, units: 3, use_bias: false}]\nloss: squared_error\nsolver: least_squares\n"
        "record: {every: {epochs: 1}}\nphenomena: [matched_units]\nsweep: {seeds: 2}\n"
    )
    (tmp_path / "sweep.yaml").write_text(text)
    result = run_nnlab("sweep", tmp_path / "sweep.yaml", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "matched_units looks at weights, and a run that is solved for keeps none" in result.stderr
