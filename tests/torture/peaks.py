"""Compare what `--dry-run` says a run will need of memory with what it then took, at its peak."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from torture import Report

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SHIPPED = {  # a few steps and records: memory does not go by their number
    "vanishing_gradients": [],
    "mnist1d_sigmoid": [],
    "relu_exploding": [],
    "grokking_mod31": [],
    "grokking_omnigrok": [],
    "grokking_transformer": [],
    "grokking_nanda2023": [],
    "double_descent_mnist1d": ["~sweep", "~phenomena", "~expect", "model.width=3000"],
}
SHORT = ["train={steps: 6}", "record={every: {steps: 3}}"]
OFF = 0.25
UNITS = {"MB": 1e6, "GB": 1e9}


def measured(name: str, overrides: list[str], folder: Path) -> tuple[float, float]:
    """The estimate and the peak, in bytes; programs are compiled, as in a first run."""
    words = [sys.executable, "-m", "nnlab", "train", EXPERIMENTS / f"{name}.yaml", *overrides, *SHORT]
    words += ["--out", folder / name]
    plan = subprocess.run([*map(str, words), "--dry-run"], capture_output=True, text=True, check=True)
    number, unit = re.search(r"about (\S+) (MB|GB) of memory", plan.stderr).groups()
    source = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=2)\n"
    source += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    trained = subprocess.run(
        [sys.executable, "-c", source, *map(str, words), "--no-plots", "--quiet"],
        capture_output=True,
        text=True,
        env={"PATH": "", "XDG_CACHE_HOME": str(folder)},
    )
    scale = 1 if sys.platform == "darwin" else 1024
    return float(number) * UNITS[unit], float(trained.stdout) * scale


def peaks(folder: Path, names: list[str] | None = None) -> Report:
    """The estimate must be within a quarter of the peak."""
    bad = []
    for name in names or SHIPPED:
        expected, found = measured(name, SHIPPED[name], folder)
        off = expected / found - 1
        line = f"{name}: about {expected / 1e6:.0f} MB, took {found / 1e6:.0f} MB, {off:+.0%}"
        print(line, flush=True)
        if abs(off) > OFF:
            bad.append(line)
    return Report(len(names or SHIPPED), bad)
