"""Workers as actors of Ray: the same bytes though some are killed, loopback alone, errors of one line."""

import importlib.metadata
import re

import psutil
import pytest
from clusters import LOOPBACK, listening, workers_among
from support import run_nnlab

import nnlab
from nnlab.sweeps.engines import ray_launcher

TINY = """\
name: tiny
data: {type: xor, examples: 120, batch_size: 8}
model: {type: mlp, width: 4, depth: 1, activation: tanh, outputs: 2}
optimizer: {type: sgd, learning_rate: 0.1}
train: {steps: 20000}
record: {every: {steps: 5000}}
sweep: {axes: {model.width: [3, 4]}, seeds: 4}
phenomena: [gradient_flow]
"""


@pytest.fixture
def tiny(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path / "tiny.yaml"


@pytest.fixture
def version(monkeypatch):
    """Sets the version of Ray that is installed; None for no Ray."""
    installed = importlib.metadata.version

    def pretend(number):
        def version(package):
            if package != "ray":
                return installed(package)
            if number is None:
                raise importlib.metadata.PackageNotFoundError(package)
            return number

        monkeypatch.setattr(importlib.metadata, "version", version)

    return pretend


def test_actors_leave_the_same_bytes_though_workers_are_killed(tiny, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'nnlab[ray]'")
    killed, addresses = [], set()

    def kill_workers(event):
        if killed or event.status:
            return
        processes = psutil.Process().children(recursive=True)
        addresses.update(listening(processes))
        killed.extend(workers_among(processes))
        for process in killed:
            process.kill()

    config = nnlab.load(tiny)
    result = nnlab.sweep(config, tmp_path / "out", engine="ray", jobs=2, plots=False, progress=kill_workers)
    assert killed
    assert addresses
    assert addresses <= LOOPBACK
    here = nnlab.sweep(config, tmp_path / "here", jobs=2, plots=False)
    assert len(here.runs) == len(result.runs) == 8
    assert result.status == "complete"
    for name in ("trials.csv", "summary.csv", *(f"trials/{run.path.name}/metrics.csv" for run in here.runs)):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


def test_an_address_where_no_cluster_answers_is_told_in_a_line(tiny, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'nnlab[ray]'")
    monkeypatch.setattr(ray_launcher, "CONNECT_SECONDS", 0.5)
    words = ("--engine", "ray://127.0.0.1:1", "--jobs", 1, "--out", tmp_path / "out")
    result = run_nnlab("sweep", tiny, *words)
    assert result.exit_code == 2
    message = (
        "--engine ray://127.0.0.1:1: no cluster of Ray answers there; 'ray status --address .*' shows .*"
    )
    assert re.fullmatch(message, result.stderr.strip())
    assert list((tmp_path / "out" / "trials").iterdir()) == []


@pytest.mark.parametrize(
    ("number", "words", "message"),
    [
        ("2.60.0", ["--engine", "slurm"], "--engine slurm: there are 'local', 'ray' and 'ray://HOST:PORT'"),
        ("2.60.0", ["--engine", "ray://here", "--jobs", 1], "--engine ray://here: there are .*"),
        ("2.60.0", ["--engine", "ray:/h:1", "--jobs", 1], "--engine ray:/h:1: there are .*"),
        ("2.60.0", ["--engine", "ray://h:1"], "--engine ray://h:1: name --jobs, too, .*"),
        (
            "2.60.0",
            ["--engine", "ray", "--launcher", "env"],
            "--launcher: --engine ray starts the workers; .*",
        ),
        ("2.53.1", ["--engine", "ray"], "--engine ray: Ray 2.53.1 lets others run code .*; 2.54 is .*"),
        (None, ["--engine", "ray"], r"--engine ray: Ray is not installed; pip install 'nnlab\[ray\]'"),
    ],
)
def test_an_engine_that_cannot_be_used_is_refused_before_anything_is_written(
    number, words, message, tiny, tmp_path, version
):
    version(number)
    result = run_nnlab("sweep", tiny, *words, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert re.fullmatch(message, result.stderr.strip())
    assert not (tmp_path / "out").exists()
