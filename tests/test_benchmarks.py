"""The benchmarks work, with whichever packages and data are there; how fast anything is, no test says."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"
SCRIPTS = sorted(path.name for path in FOLDER.glob("*_time.py"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_smoke_run_ends_with_ratios(name):
    words = [sys.executable, FOLDER / name, "--smoke"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _, _, ratios = done.stdout.partition("\nratios\n")
    assert ratios
    assert all(line.startswith("  ") for line in ratios.splitlines())
