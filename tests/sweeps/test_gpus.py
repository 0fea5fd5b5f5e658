"""GPUs divided among the workers of a sweep, and lanes spread over the devices that a worker sees."""

import json
import os
import selectors

import numpy as np
import pytest
from support import TINY

from nnlab.runs.resume import ResumePolicy
from nnlab.storage.tables import read_table
from nnlab.sweeps.engines.workers import WorkerEngine
from nnlab.system import device


@pytest.fixture
def gpu_machine(monkeypatch, tmp_path):
    """A machine with the packages of a GPU, and four of them."""
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidia3", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    monkeypatch.setattr(device, "DEVICE_FILES", tmp_path)
    monkeypatch.setattr(device, "has_accelerator", lambda platform="auto": platform != "cpu")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("given", "gpus"),
    [
        (None, ["0", "1", "2", "3"]),
        ("2,0", ["2", "0"]),
        (" GPU-8932, 1 ", ["GPU-8932", "1"]),
        ("1,-1,2", ["1"]),
        ("", []),
    ],
)
def test_gpus_are_those_that_this_process_may_see(gpu_machine, given, gpus):
    if given is not None:
        gpu_machine.setenv("CUDA_VISIBLE_DEVICES", given)
    assert device.visible_gpus() == gpus
    assert device.worker_count() == (len(gpus) or 1)
    assert device.visible_gpus("cpu") == device.visible_gpus("tpu") == []
    assert device.worker_count("cpu") == device.core_count()


@pytest.mark.parametrize(
    ("workers", "shares"),
    [
        (1, ["a,b,c,d,e"]),
        (2, ["a,b", "c,d,e"]),
        (3, ["a", "b,c", "d,e"]),
        (5, ["a", "b", "c", "d", "e"]),
        (7, ["a", "a", "b", "c", "c", "d", "e"]),
    ],
)
def test_every_worker_has_a_share_and_no_gpu_is_left_over(workers, shares):
    found = [device.share_of_gpus("abcde", worker, workers) for worker in range(workers)]
    assert found == [{"CUDA_VISIBLE_DEVICES": share} for share in shares]
    assert device.share_of_gpus([], 0, workers) == {}


@pytest.mark.parametrize(
    ("size", "groups"), [(1, list("abcde")), (2, ["a,b", "c,d"]), ("all", ["a,b,c,d,e"]), (8, ["a,b,c,d,e"])]
)
def test_trainings_on_several_gpus_get_them_in_groups(size, groups):
    assert device.grouped_gpus("abcde", size) == groups
    assert device.grouped_gpus([], size) == []
    assert device.share_of_gpus(groups, 0, len(groups)) == {"CUDA_VISIBLE_DEVICES": groups[0]}


class Listener:
    """Starts workers that do nothing, and keeps what they are told first."""

    def __init__(self):
        self.told = []

    def start(self):
        self.output, self._other_end = os.pipe()
        return self

    def send(self, line):
        self.told.append(json.loads(line)["environment"].get("CUDA_VISIBLE_DEVICES"))


def test_a_worker_that_takes_the_place_of_another_has_its_gpus(gpu_machine, tmp_path):
    listener = Listener()
    gpus = device.visible_gpus()
    engine = WorkerEngine(tmp_path, listener, None, "gpu", ResumePolicy(), gpus=gpus)
    with selectors.DefaultSelector() as selector:
        engine._start_workers(range(9), selector)
        assert listener.told == ["0", "1", "2", "3"]
        del engine.channels[2]
        engine._start_workers(range(9), selector)
    assert listener.told[4:] == ["2"]


ACCELERATED = """
from nnlab.system import device

device.memory_limit_bytes = lambda: 10**9  # as of an accelerator, so that trials become lanes
"""


def test_lanes_of_a_worker_that_sees_two_devices_agree_with_trials_alone(folder, nnlab_process):
    (folder / "tiny.yaml").write_text(
        TINY.replace("phenomena: [gradient_flow]", "sweep: {seeds: 3}").split("expect")[0]
    )
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(ACCELERATED)
    paths = [str(folder / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
    two = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "JAX_NUM_CPU_DEVICES": "2"}
    for out, environment in (("alone", dict(os.environ)), ("spread", two)):
        words = ("sweep", "tiny.yaml", "--jobs", "1", "--no-plots", "--out", out)
        done = nnlab_process(*words, env=environment)
        assert done.returncode == 0, done.stderr
    trials = sorted(path.name for path in (folder / "alone" / "trials").iterdir())
    assert len(trials) == 3
    for trial in trials:
        alone, spread = (
            read_table(folder / out / "trials" / trial / "metrics.csv") for out in ("alone", "spread")
        )
        np.testing.assert_allclose(spread, alone, rtol=1e-5)
        environment = json.loads((folder / "spread" / "trials" / trial / "environment.json").read_text())
        assert len(environment["devices"]) == 2
    seconds = [(folder / "spread" / "trials" / trial / "timing.csv").read_text() for trial in trials]
    assert len(set(seconds)) == 1  # side by side
