"""Let the Nth call to the file system fail, for every N of a small run, and see that nothing is lost.

Each call that opens, writes, syncs, renames, cuts, makes or removes fails in turn: with an error of the disk,
of a full one, of a missing permission, or by writing less than it was given. The command must say so in one
line and leave with an error, unless it leaves the right bytes all the same, as after a short write or where
it cannot read a checkpoint and has an older one; the same command then goes on from an old or a new
checkpoint, and leaves the bytes of a run that met no fault.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

from click.testing import CliRunner, Result

from torture import Report
from torture.kills import left_by

RUN = """\
name: torture
data: {type: xor, examples: 120, batch_size: 8}
model: {type: mlp, width: 4, depth: 1, activation: tanh, outputs: 2}
optimizer: {type: sgd, learning_rate: 0.1, momentum: 0.9}
train: {steps: 40}
record: {every: {steps: 1}}
"""
CALLS = ("open", "write", "fsync", "replace", "rename", "ftruncate", "unlink", "makedirs", "mkdir", "pwrite")
FAULTS = ("EIO", "ENOSPC", "EACCES", "short write")


class FaultySystem:
    """`os`, but that one call of it fails. at: the number of the call, counted from 0; -1 for none."""

    def __init__(self, at: int, fault: str) -> None:
        self.at, self.fault, self.count, self.failed = at, fault, 0, ""

    def __getattr__(self, name: str) -> object:
        real = getattr(os, name)
        if name not in CALLS:
            return real

        def call(*words, **options):
            number, self.count = self.count, self.count + 1
            if number != self.at or (self.fault == "short write" and name != "write"):
                return real(*words, **options)
            self.failed = name
            if self.fault == "short write":
                file, content = words
                return real(file, bytes(content)[: max(1, len(content) // 2)])
            code = getattr(errno, self.fault)
            raise OSError(code, os.strerror(code))

        return call


@contextmanager
def faulty(at: int, fault: str) -> Iterator[FaultySystem]:
    system = FaultySystem(at, fault)
    with ExitStack() as stack:
        for module in ("system.files", "storage.lock", "storage.checkpoints"):
            stack.enter_context(mock.patch(f"nnlab.{module}.os", system))
        yield system


def train(config: Path, out: Path) -> Result:
    from nnlab.cli.main import cli

    words = ["train", config, "--out", out, "--no-plots", "--quiet", "--checkpoint-every", 0]
    return CliRunner().invoke(cli, [str(word) for word in words])


def wrong(config: Path, out: Path, at: int, fault: str, whole: dict[str, bytes]) -> str:
    """What is wrong with how a run takes a fault, and with the run that follows; empty where nothing is."""
    with faulty(at, fault) as system:
        met = train(config, out)
    if not system.failed:
        return "" if met.exit_code == 0 else f"left with {met.exit_code} without a fault"
    if (
        met.exit_code == 0
    ):  # it went on after a short write, or from an older checkpoint than one it cannot read
        return "" if left_by(out) == whole else f"{system.failed}: left with 0 and other bytes"
    if fault == "short write":
        return f"a short write made it leave with {met.exit_code}"
    if met.exit_code not in (1, 2) or not isinstance(met.exception, SystemExit):
        return f"{system.failed}: left with {met.exit_code}, {met.exception!r}"
    if met.stderr.count("\n") != 1 or str(out) not in met.stderr:
        return f"{system.failed}: said {met.stderr!r}"
    again = train(config, out)
    if again.exit_code != 0:
        return f"{system.failed}: the same command then left with {again.exit_code}: {again.stderr}"
    return "" if left_by(out) == whole else f"{system.failed}: other bytes"


def faults(folder: Path, stride: int = 1) -> Report:
    """Every `stride`th call of a run that begins, and of one that goes on, with every fault."""
    config = folder / "torture.yaml"
    config.write_text(RUN)
    with faulty(-1, "") as counted:
        assert train(config, folder / "whole").exit_code == 0
    whole = left_by(folder / "whole")
    half = folder / "half"
    with faulty(counted.count * 2 // 3, "EIO"):
        train(config, half)
    assert any((half / "checkpoints").iterdir())
    cases, bad = 0, []
    for begun in (None, half):
        for fault in FAULTS:
            for at in range(0, counted.count, stride):
                out = folder / "out"
                shutil.rmtree(out, ignore_errors=True)
                if begun is not None:
                    shutil.copytree(begun, out)
                reason = wrong(config, out, at, fault, whole)
                cases += 1
                if reason:
                    bad.append(f"{fault} at call {at} {'going on' if begun else 'beginning'}: {reason}")
    return Report(cases, bad)
