"""The order of examples, drawn on the host from the seed."""

from __future__ import annotations

import itertools

import numpy as np

from nnlab.system.random import generator
from nnlab.training.experiment import TrainedExperiment
from nnlab.training.memory import STREAMED_BYTES
from nnlab.training.turns import example_pools

MAXIMUM_ORDER_BYTES = 8 * 2**20  # of the order that one chunk takes
MINIMUM_STREAMED_ROWS = 2  # of a chunk: the batch of a step, and that of the next one, which may be looked at


class BatchOrder:
    """The order of examples: row t has the examples of step t, `[batch_size]`; none for a full batch of all.

    Epoch e is a permutation drawn from (seed, "order", e), cut into batches. Where the order branches off
    (`data.order`), what follows is shuffled by (seed, "order", e, "branch", its seed). In a sequence of tasks
    each has epochs of its own, over the examples that it draws from, and (task, e) in place of e.

    Args:
        experiment: The experiment.
        streamed_bytes: Of the inputs of an example that go to the device with each chunk; 0 where they are
            there.

    Attributes:
        width: Examples of a row; 0 where each batch is full, or of fresh examples.
        capacity: How many rows one chunk takes.
    """

    def __init__(self, experiment: TrainedExperiment, streamed_bytes: int = 0) -> None:
        self.seed, self.branch = experiment.plan.seed, experiment.plan.data.order
        self.starts, self.pools = experiment.task_starts, example_pools(experiment.plan, experiment.data)
        full = len(self.pools) == 1 and not experiment.plan.data.batch_size
        self.width = 0 if full or experiment.plan.data.fresh else experiment.batch_size
        rows = MAXIMUM_ORDER_BYTES // (4 * max(1, self.width))
        if streamed_bytes:
            streamed_rows = STREAMED_BYTES // (self.width * streamed_bytes)
            rows = max(MINIMUM_STREAMED_ROWS, min(rows, streamed_rows))
        self.capacity = max(1, min(experiment.rounds.steps + 1, rows))
        self._epoch: tuple[tuple[int, int], np.ndarray] = ((0, -1), np.empty(0, np.int32))

    def rows(self, start: int, count: int) -> np.ndarray:
        """The batches of steps start .. start + count - 1, `[count, batch_size]` int32."""
        if not self.width:
            return np.empty((count, 0), np.int32)
        until = start + count
        turns = [
            (task, max(start, begin) - begin, min(until, end) - begin)
            for task, (begin, end) in enumerate(itertools.pairwise([*self.starts, until]))
        ]
        return np.concatenate([self._rows_of(*turn) for turn in turns if turn[1] < turn[2]])

    def padded_rows(self, start: int, until: int) -> np.ndarray:
        """The batches of steps start .. until, padded with zeros to `[capacity, batch_size]`."""
        padded = np.zeros((self.capacity, self.width), np.int32)
        rows = self.rows(start, min(self.capacity, until - start + 1))
        padded[: len(rows)] = rows
        return padded

    def _rows_of(self, task: int, start: int, until: int) -> np.ndarray:
        """The batches of steps start .. until - 1 of a task, counted from its first one."""
        steps_per_epoch = len(self.pools[task]) // self.width
        epochs = range(start // steps_per_epoch, (until - 1) // steps_per_epoch + 1)
        batches = np.concatenate([self._batches(task, epoch) for epoch in epochs])
        return batches[start - epochs[0] * steps_per_epoch :][: until - start]

    def _batches(self, task: int, epoch: int) -> np.ndarray:
        """The batches of an epoch, `[steps_per_epoch, batch_size]`; the last epoch asked for is kept."""
        if self._epoch[0] != (task, epoch):
            permutation = self._permutation(task, epoch).astype(np.int32)
            used = permutation[: len(permutation) // self.width * self.width]
            self._epoch = ((task, epoch), used.reshape(-1, self.width))
        return self._epoch[1]

    def _permutation(self, task: int, epoch: int) -> np.ndarray:
        """All examples that a task draws from in the order of one of its epochs."""
        pool, stream = self.pools[task], (task, epoch) if len(self.pools) > 1 else (epoch,)
        permutation = pool[generator(self.seed, "order", *stream).permutation(len(pool))]
        if self.branch is not None:
            begin = self.starts[task] + epoch * (len(pool) // self.width)
            kept = max(0, self.branch.from_step - begin) * self.width
            random = generator(self.seed, "order", *stream, "branch", self.branch.seed)
            permutation[kept:] = random.permutation(permutation[kept:])
        return permutation
