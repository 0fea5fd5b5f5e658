"""What must hold on a device: experiments run, agree with the CPU, with themselves as lanes, and resume."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from support import put_image_sets

from device import Row
from nnlab.config import load
from nnlab.storage.tables import read_table

SHIPPED = sorted((Path(__file__).parents[2] / "experiments").glob("*.yaml"))
PROCESSES = max(1, min(8, (os.cpu_count() or 1) // 2))  # that share the device
FIRST_LOSS, LAST_LOSS, BFLOAT16_LOSS = 1e-4, 1e-2, 0.05  # most that losses may differ by, relatively
RESUMED_AFTER_ROWS, PATIENCE_SECONDS = 3, 60.0
SMOKED = ("xor_mlp", "l1_l2")
# of the shipped experiments, one for each kind of layer whose products are rounded
BFLOAT16 = (
    "relu_he",
    "vanishing_gradients_batch_norm",
    "cnn_translation",
    "rnn_memory",
    "grokking_transformer",
)

NET = """
name: net
data: {type: gaussian, examples: 2000, features: 20, batch_size: 50, split: {train: 1000, test: 1000}}
model: [{type: dense, units: 64}, batch_norm, relu, {type: dropout, rate: 0.2}, {type: dense, units: 10}]
optimizer: {type: adam, learning_rate: 0.001}
train: {steps: %d}
record: {every: {steps: 20}}
"""


class Place(NamedTuple):
    """Where checks run.

    Attributes:
        folder: Where their files go.
        platform: `gpu`, `tpu` or `cpu`.
        files: The shipped experiments to run.
        steps: Of the net that is trained to its end.
    """

    folder: Path
    platform: str
    files: Sequence[Path] = SHIPPED
    steps: int = 20_000

    @property
    def environment(self) -> dict[str, str]:
        """That of the processes: they share the device's memory, and find stand-ins for image sets."""
        cache = {"XDG_CACHE_HOME": str(self.folder / "cache")}
        return os.environ | cache | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}

    def command(self, verb: str, config: Path | str, out: str, *words: str) -> list[str]:
        """A command of nnlab that writes to a directory here."""
        options = ["--out", str(self.folder / out), "--no-plots", "--quiet"]
        return [sys.executable, "-m", "nnlab", verb, str(config), *words, *options]

    def nnlab(self, verb: str, config: Path | str, out: str, *words: str) -> str:
        """Run it; what it printed, where it went wrong."""
        done = subprocess.run(
            self.command(verb, config, out, *words),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return "" if done.returncode == 0 else f"{out}: exit code {done.returncode}: {done.stderr.strip()}"

    def losses(self, out: str, row: int) -> dict[str, float]:
        """The losses in a row of metrics.csv, of a run or of each trial of a sweep."""
        found = {}
        for file in sorted((self.folder / out).rglob("metrics.csv")):
            metrics = read_table(file)
            for name in metrics.columns[metrics.columns.str.endswith("_loss")]:
                found[f"{file.parent.relative_to(self.folder / out)} {name}"] = float(metrics[name].iloc[row])
        return found


def smoke_place(folder: Path) -> Place:
    """The CPU, with two of the shipped experiments, one of them a sweep, and a shorter training."""
    return Place(folder, "cpu", [path for path in SHIPPED if path.stem in SMOKED], 4_000)


def checks(place: Place) -> Iterator[Row]:
    """All of them."""
    put_image_sets(place.folder / "cache" / "nnlab" / "data")
    yield from shipped(place)
    yield from lanes(place)
    yield from resumed(place)
    yield from bfloat16(place)


def shipped(place: Place) -> Iterator[Row]:
    """Every shipped experiment, cut short, runs, and begins as on the CPU."""

    def smoke(path: Path) -> tuple[str, float]:
        verb = "train" if load(path).tree["sweep"] is None else "sweep"
        outs = {platform: f"{path.stem}-{platform}" for platform in {place.platform, "cpu"}}
        for platform, out in outs.items():
            wrong = place.nnlab(verb, path, out, "--smoke", "--platform", platform)
            if wrong:
                return wrong, math.inf
        return "", difference(*(place.losses(outs[platform], 0) for platform in (place.platform, "cpu")))

    with ThreadPoolExecutor(PROCESSES) as pool:
        found = dict(zip([path.stem for path in place.files], pool.map(smoke, place.files), strict=True))
    wrong = [words for words, _ in found.values() if words]
    print(*wrong, sep="\n", file=sys.stderr)
    count = len(found)
    yield Row("shipped experiments, smoked", f"{count - len(wrong)} run", f"{count} run", not wrong)
    worst = max(found, key=lambda name: found[name][1] if not found[name][0] else -1.0)
    yield _agree(f"their first losses, beside the CPU's (worst: {worst})", found[worst][1], FIRST_LOSS)


def lanes(place: Place) -> Iterator[Row]:
    """Seeds side by side are the seeds one by one."""
    config = place.folder / "net.yaml"
    config.write_text(NET % 200)
    device = ("--platform", place.platform)
    wrong = place.nnlab("sweep", config, "lanes", "sweep.seeds=4", *device)
    trials = place.folder / "lanes" / "trials.csv"
    pairs = (
        [(row["trial"], int(row["seed"])) for _, row in read_table(trials).iterrows()] if not wrong else []
    )
    for _, seed in pairs:
        wrong = wrong or place.nnlab("train", config, f"alone-{seed}", f"seed={seed}", *device)
    if wrong:
        yield Row("lanes beside runs of their own", wrong, "to run", False)
        return
    for row, what, bound in ((0, "first", FIRST_LOSS), (-1, "last", LAST_LOSS)):
        worst = max(
            difference(place.losses(f"lanes/trials/{trial}", row), place.losses(f"alone-{seed}", row))
            for trial, seed in pairs
        )
        yield _agree(f"lanes beside runs of their own, {what} losses", worst, bound)


def resumed(place: Place) -> Iterator[Row]:
    """An interrupted run goes on to the bytes of one that was not; on a GPU if it is deterministic."""
    config, what = place.folder / "net.yaml", "an interrupted run, beside one that was not"
    config.write_text(NET % place.steps)
    words = ("--platform", place.platform, "--deterministic")
    wrong = place.nnlab("train", config, "whole", *words)
    metrics = place.folder / "parts" / "metrics.csv"
    command = place.command("train", config, "parts", *words)
    with subprocess.Popen(command, env=place.environment, stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + PATIENCE_SECONDS
        while process.poll() is None and time.monotonic() < until:
            if metrics.is_file() and len(metrics.read_bytes().splitlines()) > RESUMED_AFTER_ROWS:
                process.send_signal(signal.SIGINT)
                break
            time.sleep(0.01)
    interrupted = process.returncode == 128 + signal.SIGINT
    wrong = wrong or place.nnlab("train", config, "parts", *words)
    if wrong or not interrupted:
        yield Row(what, wrong or "ended before it was interrupted", "the same bytes", False)
        return
    same = metrics.read_bytes() == (place.folder / "whole" / "metrics.csv").read_bytes()
    yield Row(what, "the same bytes" if same else "other bytes", "the same bytes", same)


def bfloat16(place: Place) -> Iterator[Row]:
    """In bfloat16 experiments begin as in float32, to its precision."""
    worst = 0.0
    for name in BFLOAT16:
        words = ("--smoke", "--platform", place.platform)
        for compute in ("float32", "bfloat16"):
            path, out = SHIPPED[0].with_name(f"{name}.yaml"), f"{name}-{compute}"
            wrong = place.nnlab("train", path, out, f"precision.compute={compute}", *words)
            if wrong:
                yield Row("bfloat16 beside float32", wrong, "to run", False)
                return
        apart = difference(place.losses(f"{name}-bfloat16", 0), place.losses(f"{name}-float32", 0))
        worst = max(worst, apart)
    yield _agree(
        f"first losses in bfloat16 beside float32, {len(BFLOAT16)} experiments", worst, BFLOAT16_LOSS
    )


def difference(losses: dict[str, float], others: dict[str, float]) -> float:
    """The largest relative difference between losses of one name; infinite where there are none, or one is no
    number."""
    common = losses.keys() & others.keys()
    apart = [abs(losses[name] - others[name]) / max(abs(others[name]), 1e-6) for name in common]
    return max((value if math.isfinite(value) else math.inf for value in apart), default=math.inf)


def _agree(what: str, apart: float, bound: float) -> Row:
    return Row(what, f"{apart:.1e} apart", f"<= {bound:.0e}", apart <= bound)
