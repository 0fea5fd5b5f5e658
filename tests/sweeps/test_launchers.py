"""Workers that a command starts elsewhere: the same bytes, an end at a checkpoint, the same folder only."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support import run_nnlab, written

import nnlab

TINY = """\
name: tiny
data: {type: xor, examples: 120, batch_size: 8}
model: {type: mlp, width: 4, depth: 1, activation: tanh, outputs: 2}
optimizer: {type: sgd, learning_rate: 0.1}
train: {steps: 20}
record: {every: {steps: 10}}
sweep: {axes: {model.width: [3, 4]}, seeds: 2}
phenomena: [gradient_flow]
"""
LONG = TINY.replace("steps: 20}", "steps: 200000}").replace("steps: 10}", "steps: 10000}")
LONG = LONG.replace("{axes: {model.width: [3, 4]}, seeds: 2}", "{seeds: 1}")
# as `ssh`: what is given is read by a shell, with no environment, in another working directory
ELSEWHERE = 'sh -c \'cd / && exec env -i PATH="$PATH" sh -c "$*"\' ssh'
# a command that passes no signal on, as one that reaches another host
DEAF = 'sh -c \'"$0" "$@"; exit $?\''
OTHER_FOLDER = """\
import json, subprocess, sys
worker = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, text=True)
setup = json.loads(sys.stdin.readline())
print(json.dumps(setup | {"folder": "FOLDER"}), file=worker.stdin, flush=True)
for line in sys.stdin:
    print(line, end="", file=worker.stdin, flush=True)
worker.stdin.close()
sys.exit(worker.wait())
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("launchers")
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "long.yaml").write_text(LONG)
    return folder


@pytest.fixture(scope="module")
def here(home):
    """A sweep of processes of this machine; not to be changed."""
    return nnlab.sweep(nnlab.load(home / "tiny.yaml"), home / "here", jobs=1, plots=False)


def test_workers_elsewhere_leave_the_same_bytes(here, home, folder):
    result = nnlab.sweep(here.config, "out", jobs=2, launcher=ELSEWHERE, plots=False)
    assert result.status == "complete"
    assert written(folder / "out") == written(home / "here")
    for trial in result.runs:
        environment = json.loads((trial.path / "environment.json").read_text())
        (same,) = (home / "here").glob(f"trials/{trial.path.name}/environment.json")
        assert environment == json.loads(same.read_text()), "threads and settings have crossed"


def test_a_worker_that_sees_another_folder_is_refused(here, tmp_path):
    (tmp_path / "other" / "trials").mkdir(parents=True)
    (tmp_path / "elsewhere.py").write_text(OTHER_FOLDER.replace("FOLDER", str(tmp_path / "other")))
    command = f"{sys.executable} {tmp_path / 'elsewhere.py'}"
    words = ("--launcher", command, "--jobs", 1, "--out", tmp_path / "out")
    result = run_nnlab("sweep", here.config.document.source, *words)
    assert result.exit_code == 2
    pattern = (
        rf"{tmp_path / 'out'}: is another folder for a worker on \S+; name an --out that all hosts share"
    )
    assert re.fullmatch(pattern, result.stderr.strip())
    assert list((tmp_path / "other" / "trials").iterdir()) == []
    assert list((tmp_path / "out" / "trials").iterdir()) == []


def test_a_host_without_the_working_directory_is_refused(here, tmp_path):
    (tmp_path / "elsewhere.py").write_text(OTHER_FOLDER.replace("folder", "working_directory"))
    command = f"{sys.executable} {tmp_path / 'elsewhere.py'}"
    with pytest.raises(
        nnlab.UsageError, match=r"FOLDER: cannot be the working directory on .*: No such file"
    ):
        nnlab.sweep(here.config, tmp_path / "out", jobs=1, launcher=command)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--launcher", "env"], "--launcher: name --jobs, too, how many workers it is to start"),
        (["--launcher", "", "--jobs", 1], "--launcher: names no command; .* is one, or 'ssh host'"),
        (["--launcher", "no-such -n1", "--jobs", 1], ".*there is no command 'no-such' here"),
        (["--launcher", "env 'A=", "--jobs", 1], "--launcher .*: no closing quotation"),
    ],
)
def test_a_launcher_that_starts_nothing_is_refused_before_anything_is_written(words, message, home, tmp_path):
    result = run_nnlab("sweep", home / "tiny.yaml", *words, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert re.fullmatch(message, result.stderr.strip())
    assert not (tmp_path / "out").exists()


def test_a_command_that_starts_no_worker_is_given_up(here, tmp_path):
    with pytest.raises(
        nnlab.NnlabError, match=r"workers die before they are ready \(exit code 1\); see .*log"
    ):
        nnlab.sweep(here.config, tmp_path / "out", jobs=1, launcher="false")


def test_a_signal_ends_trials_elsewhere_at_a_checkpoint_from_which_they_go_on(home, tmp_path):
    config, out = home / "long.yaml", tmp_path / "out"
    command = [sys.executable, "-m", "nnlab", "sweep", str(config), "--no-plots", "--quiet"]
    process = subprocess.Popen([*command, "--out", str(out), "--jobs", "1", "--launcher", DEAF])
    while process.poll() is None and not any(
        file.stat().st_size for file in out.glob("trials/*/metrics.csv")
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    (trial,) = (out / "trials").iterdir()
    assert json.loads((trial / "summary.json").read_text())["status"] == "interrupted"
    assert list((trial / "checkpoints").glob("step-*"))
    assert not list(out.glob(".nonce-*"))
    resumed = nnlab.sweep(nnlab.load(config), out, jobs=1, launcher="env", plots=False)
    assert "goes on from step" in (trial / "train.log").read_text()
    whole = nnlab.sweep(resumed.config, tmp_path / "whole", jobs=1, plots=False)
    (undisturbed,) = (Path(whole.path) / "trials").iterdir()
    for name in ("metrics.csv", "layers.csv", "summary.json"):
        assert (trial / name).read_bytes() == (undisturbed / name).read_bytes()


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv, of util-linux, is not installed")
def test_a_command_that_waits_ends_with_a_sweep_that_is_killed(home, tmp_path):
    """As `srun` in a queue, which neither starts what it is given nor reads its input."""
    waiting = tmp_path / "waiting"
    queue = f"sh -c 'echo $$ > {waiting}; exec sleep 300'"
    words = [
        "sweep",
        str(home / "tiny.yaml"),
        "--jobs",
        "1",
        "--launcher",
        queue,
        "--out",
        str(tmp_path / "out"),
    ]
    process = subprocess.Popen([sys.executable, "-m", "nnlab", *words])
    while not (waiting.exists() and waiting.read_text().endswith("\n")):
        assert process.poll() is None
        time.sleep(0.01)
    command = psutil.Process(int(waiting.read_text()))
    process.kill()
    command.wait(timeout=60)
    process.wait()
