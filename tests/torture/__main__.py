"""python tests/torture [NAME...]: all of it, or these parts, and a table of what held (make torture)."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("PJRT_NPROC", "1")

from torture import Report
from torture.configs import generated
from torture.damage import damage
from torture.device import device_check
from torture.faults import faults
from torture.hostile import hostile
from torture.joins import joins
from torture.kills import kills
from torture.on_clusters import ray_kills, slurm_kills
from torture.peaks import peaks
from torture.smoke import smoke
from torture.streaming import streaming
from torture.surroundings import surroundings
from torture.tables import tables
from torture.typos import typos

PARTS: dict[str, tuple[str, Callable[[Path], Report]]] = {
    "kill-train": ("kill -9 of train", lambda folder: kills("train", 200, folder)),
    "kill-sweep": ("kill -9 of sweep or a worker", lambda folder: kills("sweep", 50, folder)),
    "kill-join": (
        "kill -9 of one of four that share a sweep, or of a worker",
        lambda folder: joins(50, folder),
    ),
    "kill-slurm": (
        "kill -9 of a worker, a node, the controller or the sweep on Slurm",
        lambda folder: slurm_kills(20, folder),
    ),
    "kill-ray": ("the same on Ray", lambda folder: ray_kills(20, folder)),
    "faults": ("failing call to the file system", faults),
    "damage": ("file cut or bit flipped", damage),
    "surroundings": ("full, read-only, taken, dying, back in time", surroundings),
    "hostile": ("damaged run or sweep that is read", lambda folder: hostile(folder, 5_000)),
    "tables": ("generated CSV or Parquet file", lambda folder: tables(folder, 5_000, 500, seed=0)),
    "configs": ("generated or mutated experiment file", lambda _: generated(100_000, seed=0)),
    "typos": ("misspelt word", lambda _: typos(500, seed=0)),
    "smoke": ("shipped experiment", smoke),
    "peaks": ("estimate of memory", peaks),
    "device": ("check of a GPU, tried on the CPU", device_check),
    "streaming": ("data larger than memory", streaming),
}


def main(names: list[str]) -> int:
    rows, worst = [], 0
    for name in names or PARTS:
        what, part = PARTS[name]
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            report = part(Path(folder))
        print(*report.bad, sep="\n", flush=True)
        rows.append(f"| {what} | {report.cases:,} | {len(report.bad):,} | {time.monotonic() - began:.0f} s |")
        worst |= bool(report.bad) and name != "typos"
        print(rows[-1], flush=True)
    print("\n| what | cases | went wrong | took |\n|---|---|---|---|", *rows, sep="\n")
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
