"""python tests/device: what holds on the GPU of this machine, and how fast, as one table (make device).

With --smoke: on the CPU, a few experiments and tiny sizes, only to see that it works.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

from race import table

from device import Row
from device.checks import Place, checks, smoke_place
from nnlab.system import device as machine

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def transformer() -> Iterator[Row]:
    """Power's transformer by its benchmark: one, and 32 seeds side by side."""
    from run_all import goal_rows

    for words in ([], ["--seeds", "32"]):
        script = BENCHMARKS / "transformer_time.py"
        done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True, check=False)
        what = " ".join(["a step of Power's transformer", *words])
        if done.returncode:
            yield Row(what, done.stderr.strip().splitlines()[-1], "to run", False)
            continue
        print(done.stdout)
        for goal, quantity, measured, bound, verdict in goal_rows(done.stdout):
            if quantity == "wall-clock":
                yield Row(f"{what}: {goal}", measured, bound, verdict == "met")


def everything(place: Place, smoke: bool) -> Iterator[Row]:
    """The checks, then the races, for which this process takes the device."""
    yield from checks(place)
    machine.configure(place.platform)
    from device.races import races

    yield from races(place.folder, smoke=smoke)
    if not smoke:
        yield from transformer()


def main(smoke: bool) -> int:
    if not smoke and not machine.has_accelerator():
        print("no GPU is to be seen here (`nnlab info` shows what is): skipped")
        return 0
    with tempfile.TemporaryDirectory() as name:
        place = smoke_place(Path(name)) if smoke else Place(Path(name), "gpu")
        rows = []
        for row in everything(place, smoke):
            print(f"{'held' if row.holds else 'DID NOT HOLD'}: {row.what}: {row.found}", flush=True)
            rows.append(row)
    cells = [[row.what, row.found, row.wanted, "yes" if row.holds else "NO"] for row in rows]
    print(table(["what", "found", "wanted", "holds"], cells))
    return int(not all(row.holds for row in rows))


if __name__ == "__main__":
    sys.exit(main("--smoke" in sys.argv[1:]))
