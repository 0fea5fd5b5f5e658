"""How much memory a run needs, reckoned from shapes before anything is allocated, and how much there is.

The factors were measured on CPU, as peaks of resident memory; `make torture` compares estimate and peak.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import NamedTuple

from nnlab.nn.layer import Setup

FLOAT_BYTES = 4
LIMITS = ("memory.max", "memory.current")  # of a control group
BLOCK_VALUES = 2**24  # evaluation takes as many examples at once as make this many values
JAX, COMPILING, COMPILING_A_LAYER = (
    150e6,
    230e6,
    3e6,
)  # bytes: imported; of a first program, and of each layer


class Footprint(NamedTuple):
    """What the memory of a training goes by. slots: arrays of the size of the weights that the optimizer
    keeps; data: bytes of all examples; inside: whether it looks into layers; whole: whether a probe computes
    the outputs for all examples at once; path: how many times the weights are kept."""

    setup: Setup
    slots: int
    batch: int
    examples: int
    data: int
    inside: bool
    whole: bool
    path: int = 0

    @property
    def arrays(self) -> int:
        """Bytes of weights, examples and values on the device, at their peak.

        Of the weights there are the first, the present and the best ones, gradients and changes, the
        optimizer's, and, as a checkpoint is written, the largest of its files twice.
        """
        copies = max(6 + 2.4 * self.slots, (8.4 if self.inside else 6) + self.slots)
        weights = (copies + 2 * self.path) * self.setup.count("params") + self.setup.count("state")
        values = self.setup.values_per_example
        block = min(BLOCK_VALUES, values * self.examples)
        whole = 2 * values * self.examples if self.whole else 0
        return int(FLOAT_BYTES * (weights + values * self.batch + block + whole)) + 2 * self.data

    @property
    def more(self) -> int:
        """Bytes that this process will need at its peak beyond those it has."""
        compiling = COMPILING + COMPILING_A_LAYER * sum(1 for _ in self.setup.leaves())
        return int((0 if "jax" in sys.modules else JAX) + compiling) + self.arrays


def resident() -> int:
    """Bytes of this process; 0 where the system does not say."""
    words = _text("/proc/self/statm").split()
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE") if len(words) > 1 else 0


def largest_layers(setup: Setup, count: int = 3) -> str:
    """The layers with the most parameters, for the message that refuses a run."""
    sized = sorted(setup.leaves(), key=lambda entry: -entry[1].count("params"))[:count]
    return ", ".join(
        f"{path} ({shown(FLOAT_BYTES * leaf.count('params'))})" for path, leaf in sized if leaf.params
    )


def available() -> int | None:
    """Bytes free on this machine, or left in its control group; None where it does not say."""
    found = []
    for line in _text("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            found.append(int(line.split()[1]) * 1024)
    for line in _text("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            found += _left_in(path, "/sys/fs/cgroup" + ("/memory" if controllers else ""), bool(controllers))
    return min(found, default=None)


def _left_in(path: str, root: str, first_version: bool) -> list[int]:
    """Bytes left in a control group and in those around it; a container sees its own at the root."""
    limit, used = ("memory.limit_in_bytes", "memory.usage_in_bytes") if first_version else LIMITS
    found = []
    parts = [part for part in path.split("/") if part]
    for length in range(len(parts) + 1):
        folder = "/".join([root, *parts[:length]])
        words = [_text(f"{folder}/{name}").strip() for name in (limit, used)]
        if all(word.isdecimal() for word in words):
            cached = ("inactive_file ", "active_file ")  # given back where it is wanted
            lines = _text(f"{folder}/memory.stat").splitlines()
            cache = sum(int(line.split()[1]) for line in lines if line.startswith(cached))
            found.append(max(0, int(words[0]) - int(words[1]) + cache))
    return found


def shown(size: float) -> str:
    """`3.2 GB`; beyond petabytes, the power of ten."""
    for unit in ("bytes", "kB", "MB", "GB", "TB", "PB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size = size / 1000
    return f"10^{round(math.log10(size)) + 18} bytes"


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
