"""examples/plugin as pip installs it: its components in a sweep of two workers; its detector says no."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

PLUGIN = Path(__file__).parents[2] / "examples" / "plugin"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the package in it, outside of the environment that the other tests run in."""
    place = tmp_path_factory.mktemp("site")
    source = shutil.copytree(
        PLUGIN, tmp_path_factory.mktemp("source") / "plugin"
    )  # building writes beside it
    words = [
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--target",
        place,
        source,
    ]
    subprocess.run([sys.executable, "-m", "pip", *map(str, words)], check=True)
    return place


@pytest.fixture
def nnlab(site, folder, nnlab_process):
    """`nnlab ...` in a process to which the package is installed."""

    def run(*arguments):
        path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
        return nnlab_process(*arguments, env={**os.environ, "PYTHONPATH": path})

    return run


def test_a_sweep_on_two_workers(folder, nnlab):
    done = nnlab("sweep", PLUGIN / "moons.yaml", "--jobs", "2", "--out", "moons")
    assert done.returncode == 0, done.stderr
    assert "calibration.verdict (every trial)" in done.stdout
    trials = pandas.read_csv(folder / "moons" / "trials.csv")
    assert trials["status"].tolist() == ["complete"] * 4
    assert (trials["calibration.expected_calibration_error"] < 0.05).all()
    first = folder / "moons" / "trials" / trials["trial"][0]
    recorded = json.loads((first / "environment.json").read_text())["plugins"]
    assert {f"{origin['name']} {origin['version']}" for origin in recorded.values()} == {
        "nnlab-example 1.0.0"
    }
    drawn = nnlab("plot", first, "--figure", "reliability")
    assert drawn.stdout.strip() == str(first / "plots" / "reliability.png")
    for kind, name in (("layer", "maxout"), ("dataset", "moons"), ("optimizer", "signum")):
        assert "Comes from nnlab-example 1.0.0." in nnlab("show", kind, name).stdout


@pytest.mark.parametrize(
    ("override", "verdict"),
    [("data.limit=60", "overconfident"), ("data.label_noise=0.3", "underconfident")],
)
def test_the_detector_says_no(folder, nnlab, override, verdict):
    words = [PLUGIN / "moons.yaml", "~sweep", "model.0.units=32", "train={steps: 1000}", override]
    assert nnlab("train", *words, "--out", "run", "--no-plots").returncode == 1
    assert json.loads((folder / "run" / "summary.json").read_text())["calibration"]["verdict"] == verdict


def test_a_run_that_ends_before_its_predictions_has_no_numbers(folder, nnlab):
    words = [PLUGIN / "moons.yaml", "~sweep", "~expect", "optimizer.learning_rate=1e38"]
    done = nnlab("train", *words, "--out", "run", "--no-plots")
    assert done.returncode == 3, done.stderr
    numbers = json.loads((folder / "run" / "summary.json").read_text())["calibration"]
    assert numbers.pop("reason")
    assert set(numbers.values()) == {None}


def test_what_has_no_calibration_is_refused_before_it_is_trained(folder, nnlab):
    done = nnlab("train", PLUGIN / "moons.yaml", "~sweep", "~expect", "+data.split={train: 0.5, test: 0}")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "calibration is seen on test examples" in line
