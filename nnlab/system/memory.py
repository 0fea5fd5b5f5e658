"""How much memory this process has, and how much is free."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP_FILES = ("memory.max", "memory.current")  # limit and use of a control group


def resident_bytes() -> int:
    """Bytes of this process; 0 where the system does not say."""
    words = _text("/proc/self/statm").split()
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE") if len(words) > 1 else 0


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


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
