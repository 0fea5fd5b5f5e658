"""The order of examples: how a training branches off from another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Lt

from nnlab.registry import section


@section()
@dataclass(frozen=True)
class Branch:
    """From a step on, the order of examples is drawn from a seed of its own.

    Trainings that differ in nothing but this seed are the same, bit by bit, up to that step, and see the
    examples in another order after it. The first weights, the data, and what layers and augmentations draw
    are those of the run's seed in all of them. In the epoch of the step, the examples that were not seen yet
    are shuffled, so that it is one pass over all of them still.

    Args:
        from_step: The first step whose batch is of the new order, 0 or more.
        seed: Draws the new order, with the run's seed.
    """

    from_step: Annotated[int, Ge(0), Lt(2**31 - 1)]
    seed: Annotated[int, Ge(0), Lt(2**32)]
