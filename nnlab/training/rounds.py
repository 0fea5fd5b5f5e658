"""The rounds of a training: one, or several with a pruning between each and the next.

The steps of a training are counted from its beginning, and those of a round from where it would begin without
rewinding: the program, the order of examples and the schedules know the latter alone. A pruning is a step of
the training and of no round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nnlab.config.training_keys import Prune


class Leg(NamedTuple):
    """A part of a round, after which the host changes the state.

    Attributes:
        round: The round that it is a part of, counted from 0.
        offset: The step of the training at step 0 of the round.
        start: The step of the round at which it begins.
        until: The step of the round at which it ends.
    """

    round: int
    offset: int
    start: int
    until: int

    @property
    def first_step(self) -> int:
        """The step of the training at which it begins."""
        return self.offset + self.start


class Rounds(NamedTuple):
    """How the steps of a training are divided into rounds.

    Attributes:
        steps: Of a round.
        prunings: How many rounds follow the first one.
        rewind: The step at which these begin.
    """

    steps: int
    prunings: int = 0
    rewind: int = 0

    @classmethod
    def of(cls, steps: int, prune: Prune | None) -> Rounds:
        """The rounds of a training that lasts so many steps a round."""
        return cls(steps) if prune is None else cls(steps, prune.rounds, prune.rewind or 0)

    @property
    def total_steps(self) -> int:
        """Steps of the training, the prunings among them."""
        return self.steps + self.prunings * (self.steps - self.rewind + 1)

    def records(self, record_steps: Sequence[int]) -> int:
        """How many records there are in all rounds, those of a round being given by their steps in it."""
        return len(record_steps) + self.prunings * sum(step >= self.rewind for step in record_steps)

    def legs(self, start: int = 0) -> list[Leg]:
        """What is left of the training from one of its steps on; the first one from there on."""
        whole = [Leg(0, 0, 0, self.rewind)] if self.prunings and self.rewind else []
        whole.append(Leg(0, 0, self.rewind if self.prunings else 0, self.steps))
        stride = self.steps - self.rewind + 1
        whole += [Leg(n, n * stride, self.rewind, self.steps) for n in range(1, self.prunings + 1)]
        first = max(number for number, leg in enumerate(whole) if leg.first_step <= start)
        return [whole[first]._replace(start=start - whole[first].offset), *whole[first + 1 :]]
