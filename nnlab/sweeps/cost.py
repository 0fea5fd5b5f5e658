"""The cost of trials in floating-point operations and bytes, and the time they are likely to take here."""

from __future__ import annotations

import functools
import math
import time
from typing import NamedTuple

import numpy as np

from nnlab.training.batches import MAXIMUM_ORDER_BYTES
from nnlab.training.experiment import Experiment, TrainedExperiment

COMPILE_SECONDS = 1.5  # of one program, about
TRAINING_SHARE = 1 / 3  # of the rate at matrix products that training reaches, about
BENCHMARK_SIDE = 256  # of the matrices whose product is timed
BENCHMARK_REPEATS = 20


class CostEstimate(NamedTuple):
    """What a sweep is expected to cost.

    Attributes:
        flops: Floating-point operations of all trials that are left.
        workers: Worker processes that share them.
        seconds: Time that they take on this machine.
    """

    flops: float
    workers: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.flops:.2g} floating-point operations: about {duration(self.seconds)} on "
            f"{self.workers} workers"
        )


def estimate(flops: float, programs: int, workers: int) -> CostEstimate:
    """The cost of so many operations on so many workers, after timing this machine for a moment.

    Args:
        flops: Floating-point operations of all trials.
        programs: Number of programs to compile.
        workers: Number of worker processes.
    """
    seconds = (flops / training_flops_per_second() + COMPILE_SECONDS * programs) / workers
    return CostEstimate(flops, workers, seconds)


def trial_bytes(experiment: Experiment) -> float:
    """Memory of one run beside others on a worker's devices: its arrays and the order of its examples.

    A run that divides its batches among the devices has them for itself: the number is infinite.
    """
    if isinstance(experiment, TrainedExperiment) and experiment.train.devices != 1:
        return math.inf
    return MAXIMUM_ORDER_BYTES + experiment.footprint.array_bytes


@functools.cache
def training_flops_per_second() -> float:
    """Floating-point operations per second of one core at training, from the best of some matrix products;
    measured once."""
    from threadpoolctl import threadpool_limits

    square = np.ones((BENCHMARK_SIDE, BENCHMARK_SIDE), np.float32)
    best = float("inf")
    with threadpool_limits(1):
        for _ in range(BENCHMARK_REPEATS):
            began = time.perf_counter()
            square @ square
            best = min(best, time.perf_counter() - began)
    return TRAINING_SHARE * 2 * BENCHMARK_SIDE**3 / best


def duration(seconds: float) -> str:
    """A time in words: `4 hours`, `90 minutes`, `2 seconds`."""
    for size, unit in ((3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1.0, seconds):.0f} seconds"
