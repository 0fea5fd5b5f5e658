"""How much memory a run needs, reckoned from shapes before anything is allocated, and how much there is."""

from __future__ import annotations

import math
from pathlib import Path

from nnlab.nn.layer import Setup

FLOAT = 4  # bytes


def needed(setup: Setup, slots: int, batch: int) -> int:
    """Bytes of a training: weights, first weights, gradients, changes and the optimizer's `slots`, and for
    every example of a batch each layer's values, forward and backward."""
    weights = (4 + slots) * setup.count("params") + setup.count("state")
    values = sum(math.prod(leaf.output_shape) for _, leaf in setup.leaves())
    return FLOAT * (weights + 3 * batch * values)


def largest_layers(setup: Setup, count: int = 3) -> str:
    """The layers with the most parameters, for the message that refuses a run."""
    sized = sorted(setup.leaves(), key=lambda entry: -entry[1].count("params"))[:count]
    return ", ".join(f"{path} ({shown(FLOAT * leaf.count('params'))})" for path, leaf in sized if leaf.params)


def available() -> int | None:
    """Bytes free on this machine, or left in its control group; None where it does not say."""
    found = []
    meminfo = _text("/proc/meminfo")
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            found.append(int(line.split()[1]) * 1024)
    limit, used = _text("/sys/fs/cgroup/memory.max").strip(), _text("/sys/fs/cgroup/memory.current").strip()
    if limit.isdecimal() and used.isdecimal():
        cache = [
            int(line.split()[1])
            for line in _text("/sys/fs/cgroup/memory.stat").splitlines()
            if line.startswith(("inactive_file ", "active_file "))
        ]
        found.append(max(0, int(limit) - int(used) + sum(cache)))
    return min(found, default=None)


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
