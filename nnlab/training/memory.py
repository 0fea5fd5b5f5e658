"""How much memory a run needs, estimated from shapes before anything is allocated, and how much is free.

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
CGROUP_FILES = ("memory.max", "memory.current")  # limit and use of a control group
MAXIMUM_BLOCK_VALUES = 2**24  # of all layers together, for the examples that are evaluated at once
JAX_BYTES = 150e6  # of importing it
COMPILING_BYTES = 230e6  # of a first program
COMPILING_BYTES_PER_LAYER = 3e6


class Footprint(NamedTuple):
    """What the memory of a training depends on.

    Attributes:
        setup: The model's.
        slots: Arrays of the size of the weights that the optimizer keeps.
        batch_size: Examples of a step.
        examples: Of all splits.
        data_bytes: Of all examples.
        records_layers: Whether the table `layers` is recorded.
        evaluates_all_examples: Whether a probe computes the outputs for all examples at once.
        path_points: How many times a probe has the weights kept.
    """

    setup: Setup
    slots: int
    batch_size: int
    examples: int
    data_bytes: int
    records_layers: bool
    evaluates_all_examples: bool
    path_points: int = 0

    @property
    def array_bytes(self) -> int:
        """Bytes of weights, examples and values on the device, at their peak.

        Of the weights there are the first, the present and the best ones, gradients and changes, the
        optimizer's, and, while a checkpoint is written, the largest of its files twice.
        """
        copies = max(6 + 2.4 * self.slots, (8.4 if self.records_layers else 6) + self.slots)
        weights = (copies + 2 * self.path_points) * self.setup.count("params") + self.setup.count("state")
        values = self.setup.values_per_example
        block = min(MAXIMUM_BLOCK_VALUES, values * self.examples)
        at_once = 2 * values * self.examples if self.evaluates_all_examples else 0
        floats = weights + values * self.batch_size + block + at_once
        return int(FLOAT_BYTES * floats) + 2 * self.data_bytes

    @property
    def additional_bytes(self) -> int:
        """Bytes that this process will need at its peak beyond those it has."""
        compiling = COMPILING_BYTES + COMPILING_BYTES_PER_LAYER * sum(1 for _ in self.setup.leaves())
        return int((0 if "jax" in sys.modules else JAX_BYTES) + compiling) + self.array_bytes


def resident_bytes() -> int:
    """Bytes of this process; 0 where the system does not say."""
    words = _text("/proc/self/statm").split()
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE") if len(words) > 1 else 0


def largest_layers(setup: Setup, count: int = 3) -> str:
    """The layers with the most parameters, in words.

    Args:
        setup: The model's.
        count: How many to name.
    """
    sized = sorted(setup.leaves(), key=lambda entry: -entry[1].count("params"))[:count]
    return ", ".join(
        f"{path} ({format_bytes(FLOAT_BYTES * leaf.count('params'))})" for path, leaf in sized if leaf.params
    )


def available_bytes() -> int | None:
    """Bytes free on this machine, or left in its control group; None where it does not say."""
    free = []
    for line in _text("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            free.append(int(line.split()[1]) * 1024)
    for line in _text("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            free += _free_in(path, "/sys/fs/cgroup" + ("/memory" if controllers else ""), bool(controllers))
    return min(free, default=None)


def _free_in(path: str, root: str, first_version: bool) -> list[int]:
    """Bytes left in a control group and in those around it; a container sees its own at the root."""
    limit, used = ("memory.limit_in_bytes", "memory.usage_in_bytes") if first_version else CGROUP_FILES
    free = []
    parts = [part for part in path.split("/") if part]
    for length in range(len(parts) + 1):
        folder = "/".join([root, *parts[:length]])
        words = [_text(f"{folder}/{name}").strip() for name in (limit, used)]
        if all(word.isdecimal() for word in words):
            cached = ("inactive_file ", "active_file ")  # given back where it is wanted
            lines = _text(f"{folder}/memory.stat").splitlines()
            cache = sum(int(line.split()[1]) for line in lines if line.startswith(cached))
            free.append(max(0, int(words[0]) - int(words[1]) + cache))
    return free


def format_bytes(size: float) -> str:
    """A number of bytes in words: `3.2 GB`; beyond petabytes, the power of ten."""
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
