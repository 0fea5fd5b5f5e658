"""Run every benchmark and write what they print to docs/performance_table.md.

    python benchmarks/run_all.py    (make bench installs PyTorch and Keras first; about 25 minutes)

docs/performance.md explains it.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from race import GOAL_COLUMNS, table

FOLDER = Path(__file__).resolve().parent
PAGE = FOLDER.parent / "docs" / "performance_table.md"
SCRIPTS = {
    "start_time": "Start",
    "compile_time": "Compiling",
    "step_time": "A step",
    "image_epoch_time": "An epoch on images",
    "transformer_time": "A transformer",
    "sweep_time": "A sweep",
    "sweep_overhead": "A sweep's overhead",
    "growth": "Growth",
    "probe_cost": "Looking inside",
}


def printed_by(name: str) -> str:
    """What a benchmark prints."""
    command = [sys.executable, str(FOLDER / f"{name}.py")]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def goal_rows(printed: str) -> list[list[str]]:
    """The rows of the table of goals at the end of what a benchmark prints."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines()]
    head = rows.index(list(GOAL_COLUMNS))
    return rows[head + 2 :]


def machine() -> str:
    """Processor, cores, system and versions."""
    from nnlab.system.device import environment

    here = environment()
    versions = {name: here["versions"][name] for name in ("nnlab", "jax", "jaxlib", "numpy")}
    for name in ("torch", "keras"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    words = ", ".join(f"{name} {number}" for name, number in versions.items())
    return f"{here['processor']}, {here['cores']} cores, {here['system']}; Python {here['python']}, {words}"


def commit() -> str:
    """What was measured."""
    words = ["git", "-C", str(FOLDER), "describe", "--always", "--dirty", "--abbrev=10"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "none"


def main() -> None:
    printed = {}
    for name in SCRIPTS:
        printed[name] = printed_by(name)
        print(f"{name}\n\n{printed[name]}", flush=True)
    goals = [row for text in printed.values() for row in goal_rows(text)]
    parts = [
        "# Performance, measured",
        f"Written by `make bench` on {date.today()}, of commit {commit()}; "
        "[performance.md](performance.md) explains it.",
        f"Machine: {machine()}.",
        "## Goals",
        table(GOAL_COLUMNS, goals),
    ]
    for name, title in SCRIPTS.items():
        parts += [f"## {title}", f"`benchmarks/{name}.py`", printed[name].strip()]
    PAGE.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print(f"written: {PAGE}")


if __name__ == "__main__":
    main()
