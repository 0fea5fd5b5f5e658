"""What a shell offers at the tab key: by Click's own resolution, and once through a real bash."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from support import TINY

from nnlab.cli.main import cli
from nnlab.config.base import shipped_experiments
from nnlab.registry import KINDS, components


def offered(*words):
    *given, incomplete = words
    completions = ShellComplete(cli, {}, "nnlab", "_NNLAB_COMPLETE").get_completions(list(given), incomplete)
    return [item.value for item in completions]


def test_commands_and_options():
    assert offered("tr") == ["train"]
    assert offered("cross") == ["cross-validate"]
    assert "--checkpoint-every" in offered("train", "first.yaml", "--check")
    assert offered("export", "ten") == ["tensorboard"]


def test_shipped_experiments():
    assert offered("new", "grokking_mod31") == [
        n for n in shipped_experiments() if n.startswith("grokking_mod31")
    ]
    assert offered("new", "") == list(shipped_experiments())


def test_kinds_and_their_components():
    assert offered("list", "") == offered("show", "") == list(KINDS)
    assert offered("show", "opt") == ["optimizer"]
    assert offered("show", "optimizer", "ada") == [n for n in components("optimizer") if n.startswith("ada")]
    assert offered("show", "no_kind", "") == []


@pytest.mark.parametrize("command", ["train", "sweep", "summary", "cross-validate"])
def test_overrides_are_keys_of_the_file_with_every_default(folder, command):
    (folder / "tiny.yaml").write_text(TINY)
    assert offered(command, "tiny.yaml", "optimizer.m") == ["optimizer.momentum="]
    assert offered(command, "tiny.yaml", "seed=1", "train.st") == ["train.steps=", "train.stop="]
    assert offered(command, "tiny.yaml", "expect.final") == [
        "expect.final.train_loss=",
        "expect.final.train_loss.min=",
        "expect.final.train_loss.max=",
        "expect.final.train_loss.equals=",
    ]
    assert offered(command, "tiny.yaml", "~reco")[0] == "~record"
    assert "+sweep=" in offered(command, "tiny.yaml", "+s")


def test_overrides_of_a_file_with_a_base_are_those_of_the_whole(folder):
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "short.yaml").write_text("name: short\nbase: tiny.yaml\n")
    assert offered("train", "short.yaml", "model.w") == ["model.width="]


@pytest.mark.parametrize("text", [None, "name: [", "name: a\n"])
def test_of_a_file_that_is_wrong_nothing_is_offered(folder, text, capsys):
    if text is not None:
        (folder / "wrong.yaml").write_text(text)
    assert offered("train", "wrong.yaml", "") == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_a_real_bash_completes(folder):
    (folder / "nnlab").write_text(f"#!{sys.executable}\nfrom nnlab.cli.main import main\nmain()\n")
    (folder / "nnlab").chmod(0o755)
    script = (
        'eval "$(_NNLAB_COMPLETE=bash_source nnlab)"; complete -p nnlab >/dev/null || exit 1;'
        "COMP_WORDS=(nnlab new vanishing_gradients_); COMP_CWORD=2;"
        "_nnlab_completion nnlab; echo ${COMPREPLY[@]}"
    )
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": root}
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env=environment, check=False
    )
    assert done.stdout.split() == ["vanishing_gradients_batch_norm", "vanishing_gradients_skip"], done.stderr
