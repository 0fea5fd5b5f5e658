"""Contestants taking turns, so that what else the machine does meets all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def print_ratio(what: str, ratio: float, goal: float) -> None:
    """A line of the end of a benchmark: a ratio within this run, and the most that it should be."""
    print(f"  {what}: {ratio:.2f}, goal <= {goal}: {'reached' if ratio <= goal else 'missed'}")


def race(contestants: dict[str, Callable[[], Any]], steps: int, rounds: int = 9) -> dict[str, float]:
    """Microseconds a step of each contestant's fastest round, after a warm-up."""
    best = dict.fromkeys(contestants, float("inf"))
    for call in contestants.values():
        call()
    for _ in range(rounds):
        for name, call in contestants.items():
            began = time.perf_counter()
            call()
            best[name] = min(best[name], (time.perf_counter() - began) / steps * 1e6)
    return best
