"""Each block of code of README and docs does what the text says.

YAML is an experiment and is checked as one; Python runs; `nnlab` in a shell runs. Trainings and sweeps are
cut short as by `--smoke`. Blocks of a page come one after the other, in one folder, which has the
repository's experiments and examples in it. A comment before a block says where it is otherwise:

    <!-- check: file mine.py -->          it is this file, for the blocks that follow
    <!-- check: fragment -->              keys of an experiment, which are laid over a small one
    <!-- check: wrong -->                 an experiment that nnlab refuses
    <!-- check: dry-run -->               trainings and sweeps are only planned
    <!-- check: exit 2 -->                the last command ends with this code
    <!-- check: output -->                lines that the last command prints
    <!-- check: no-run, the reason -->    it is only looked at
"""

import functools
import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import jax
import pytest
import yaml
from support import run_nnlab

import nnlab
from documentation.markdown import PAGES, ROOT, blocks, name_of
from nnlab.errors import ConfigError
from nnlab.registry import KINDS, components
from nnlab.training.experiment import build_experiment

WITH_CODE = [page for page in PAGES if any(block.language for block in blocks(page))]
FILES = {block.marks["file"] for page in WITH_CODE for block in blocks(page) if "file" in block.marks}
MODULES = {name.removesuffix(".py") for name in FILES if name.endswith(".py")}
MARKS = {"file", "fragment", "wrong", "dry-run", "exit", "output", "no-run"}
SHELL_SIGNS = set("|<>$&;`")
SMALL = {
    "name": "fragment",
    "data": {"type": "digits", "limit": 200},
    "model": {"type": "mlp", "width": 4, "depth": 1},
    "train": {"steps": 1},
}


@pytest.fixture(autouse=True)
def lenient_promotion():
    """Not as strict as conftest.py: optax's Adam raises a float to an int32 power."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def own_registry(monkeypatch):
    """What the modules of a page register is known to this page alone."""
    catalogue = {kind: {n: c for n, c in components(kind).items() if c.kind == kind} for kind in KINDS}
    monkeypatch.setattr(import_module("nnlab.registry.components"), "_CATALOGUE", catalogue)
    monkeypatch.setattr(import_module("nnlab.registry.plugins"), "_imported", [])
    monkeypatch.setattr(import_module("nnlab.registry.plugins"), "_origins", {})
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


class Reader:
    """Who reads a page and does what it says.

    Attributes:
        names: Those of the page's Python so far.
        output: What the last command printed.
    """

    def __init__(self):
        self.names, self.output = {}, ""

    def follow(self, block):
        """Do what a block says."""
        assert set(block.marks) <= MARKS
        if "file" in block.marks:
            Path(block.marks["file"]).write_text(block.text)
        if "no-run" in block.marks:
            assert block.marks["no-run"], "give the reason"
        elif "output" in block.marks:
            assert block.text in self.output
        elif block.language == "yaml":
            check_experiment(block)
        elif block.language == "python" and "file" not in block.marks:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(nnlab, "load", functools.partial(nnlab.load, smoke=True))
                exec(block.text, self.names)
        elif block.language == "sh":
            *first, last = commands(block.text)
            cut = "--dry-run" if "dry-run" in block.marks else "--smoke"
            for command in first:
                self.run(command, cut, 0)
            self.run(last, cut, int(block.marks.get("exit", 0)))
        else:
            assert block.language in ("", "text", "python"), f"how is {block.language} checked?"

    def run(self, command, cut, code):
        """Run a command, if it is one of nnlab; what installs, makes or changes folders is the reader's."""
        program, *words = shlex.split(command)
        trains = words and words[0] in ("train", "sweep")
        needs_results = cut == "--dry-run" and words[0] in ("check", "compare", "plot")
        if program != "nnlab" or needs_results:
            return
        if trains and not {"--smoke", "--dry-run"} & set(words):
            command += f" {cut}"
        found, self.output = in_shell(command) if SHELL_SIGNS & set(command) else in_process(command)
        assert found == code, f"{command}: exit code {found}\n{self.output}"


def commands(text):
    """The commands of a block, a line each; `\\` at an end joins two."""
    lines = [re.sub(r"(^| +)#.*", "", line) for line in text.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line]


def in_process(command):
    """Run a command here, with patterns of files as a shell would have them."""
    words = shlex.split(command)[1:]
    files = {word: sorted(map(str, Path().glob(word))) for word in words if "*" in word and "=" not in word}
    done = run_nnlab(*(file for word in words for file in files.get(word, [word])))
    return done.exit_code, done.output


def in_shell(command):
    """Run a command that has pipes, variables and the like in a shell."""
    script = f'nnlab() {{ {shlex.quote(sys.executable)} -m nnlab "$@"; }}\n{command}'
    options = {"capture_output": True, "text": True, "check": False, "timeout": 120}
    done = subprocess.run(["bash", "-c", script], env=os.environ | {"PYTHONPATH": str(ROOT)}, **options)
    return done.returncode, done.stdout + done.stderr


def check_experiment(block):
    """Check an experiment, with its data; a fragment laid over a small one."""
    if "wrong" in block.marks:
        with pytest.raises(ConfigError):
            nnlab.load(block.marks["file"])
        return
    tree = yaml.safe_load(block.text)
    config = nnlab.experiment(SMALL | tree if "fragment" in block.marks else tree)
    if config.tree["sweep"] is None:
        build_experiment(config)
    else:
        nnlab.plan_sweep(config)


@pytest.mark.usefixtures("sweeps_here", "own_registry")
@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_a_reader_who_follows_the_page(page, folder):
    for name in ("experiments", "examples"):
        (folder / name).symlink_to(ROOT / name)
    reader = Reader()
    for block in blocks(page):
        try:
            reader.follow(block)
        except BaseException as error:
            error.add_note(f"{name_of(page)}, the block at line {block.line}")
            raise
