"""The check of a GPU: without one it says so; tests/torture tries it on the CPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from device.checks import difference

FOLDER = Path(__file__).parent / "device"


def test_without_a_gpu_it_is_skipped():
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, FOLDER], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "no GPU is to be seen here (`nnlab info` shows what is): skipped\n"


@pytest.mark.parametrize(
    ("losses", "others", "apart"),
    [
        ({"a": 1.0, "b": 2.2}, {"a": 1.0, "b": 2.0}, 0.1),
        ({"a": 1.0, "c": 9.0}, {"a": 1.0, "d": 5.0}, 0.0),
        ({"a": 1.0}, {"b": 1.0}, float("inf")),  # nothing to compare is no agreement
        ({"a": float("nan")}, {"a": 1.0}, float("inf")),
    ],
)
def test_losses_are_compared_by_their_largest_relative_difference(losses, others, apart):
    assert difference(losses, others) == pytest.approx(apart)
