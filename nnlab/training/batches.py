"""The order of examples, drawn on the host from the seed."""

from __future__ import annotations

import numpy as np

from nnlab.system.random import generator
from nnlab.training.experiment import TrainedExperiment
from nnlab.training.memory import STREAMED_BYTES

MAXIMUM_ORDER_BYTES = 8 * 2**20  # of the order that one chunk takes
MINIMUM_STREAMED_ROWS = 2  # of a chunk: the batch of a step, and that of the next one, which may be looked at


class BatchOrder:
    """The order of examples: row t has the examples of step t, `[batch_size]`; none for a full batch.

    Epoch e is a permutation drawn from (seed, "order", e), cut into steps_per_epoch batches. Where the order
    branches off (`data.order`), what follows is shuffled by (seed, "order", e, "branch", its seed).

    Args:
        experiment: The experiment.
        streamed_bytes: Of the inputs of an example that go to the device with each chunk; 0 where they are
            there.

    Attributes:
        width: Examples of a row; 0 where each batch is full, or of fresh examples.
        capacity: How many rows one chunk takes.
    """

    def __init__(self, experiment: TrainedExperiment, streamed_bytes: int = 0) -> None:
        self.seed, self.steps_per_epoch = experiment.plan.seed, experiment.steps_per_epoch
        self.examples, self.branch = len(experiment.data.train), experiment.plan.data.order
        full = self.steps_per_epoch == 1 and not experiment.plan.data.batch_size
        self.width = 0 if full or experiment.plan.data.fresh else experiment.batch_size
        rows = MAXIMUM_ORDER_BYTES // (4 * max(1, self.width))
        if streamed_bytes:
            streamed_rows = STREAMED_BYTES // (self.width * streamed_bytes)
            rows = max(MINIMUM_STREAMED_ROWS, min(rows, streamed_rows))
        self.capacity = max(1, min(experiment.rounds.steps + 1, rows))
        self._epoch: tuple[int, np.ndarray] = (-1, np.empty(0, np.int32))

    def rows(self, start: int, count: int) -> np.ndarray:
        """The batches of steps start .. start + count - 1, `[count, batch_size]` int32."""
        if not self.width:
            return np.empty((count, 0), np.int32)
        epochs = range(start // self.steps_per_epoch, (start + count - 1) // self.steps_per_epoch + 1)
        batches = np.concatenate([self._batches(epoch) for epoch in epochs])
        return batches[start - epochs[0] * self.steps_per_epoch :][:count]

    def padded_rows(self, start: int, until: int) -> np.ndarray:
        """The batches of steps start .. until, padded with zeros to `[capacity, batch_size]`."""
        padded = np.zeros((self.capacity, self.width), np.int32)
        rows = self.rows(start, min(self.capacity, until - start + 1))
        padded[: len(rows)] = rows
        return padded

    def _batches(self, epoch: int) -> np.ndarray:
        """The batches of an epoch, `[steps_per_epoch, batch_size]`; the last epoch asked for is kept."""
        if self._epoch[0] != epoch:
            used = self._permutation(epoch)[: self.steps_per_epoch * self.width].astype(np.int32)
            self._epoch = (epoch, used.reshape(self.steps_per_epoch, self.width))
        return self._epoch[1]

    def _permutation(self, epoch: int) -> np.ndarray:
        """All examples in the order of an epoch."""
        permutation = generator(self.seed, "order", epoch).permutation(self.examples)
        if self.branch is not None:
            kept = max(0, self.branch.from_step - epoch * self.steps_per_epoch) * self.width
            random = generator(self.seed, "order", epoch, "branch", self.branch.seed)
            permutation[kept:] = random.permutation(permutation[kept:])
        return permutation
