"""The turns of a sequence of tasks: when each begins, and which examples its steps have."""

from __future__ import annotations

import numpy as np

from nnlab.config import Config
from nnlab.config.experiment_keys import ExperimentPlan
from nnlab.data.prepare import Data


def batch_size_of(config: Config, plan: ExperimentPlan, data: Data) -> int:
    """The examples of a step: no more than any task has, unless each step has its own. Raises ConfigError."""
    if plan.data.fresh:
        return plan.data.batch_size or len(data.train)
    pools = example_pools(plan, data)
    least, most = min(map(len, pools)), max(map(len, pools))
    if not plan.data.batch_size and least < most:
        raise config.error(
            ("data", "batch_size"),
            f"full batches are of one size, and tasks have {least:,} to {most:,} examples, stored ones among "
            f"them; let it be {least:,} or less",
        )
    return min(plan.data.batch_size or least, least)


def example_pools(plan: ExperimentPlan, data: Data) -> list[np.ndarray]:
    """The rows of the training examples that each task draws its batches from; without tasks those of all."""
    if plan.data.tasks is None:
        return [np.arange(len(data.train))]
    return plan.data.tasks.rows(data.train, plan.seed)


def task_starts(plan: ExperimentPlan, steps: int) -> list[int]:
    """The step at which each task begins: all last equally long, to within a step."""
    count = plan.data.tasks.length if plan.data.tasks else 1
    return [task * steps // count for task in range(count)]


def unreached_turns(plan: ExperimentPlan, steps: int) -> list[str]:
    """What of tasks and of the order of examples a training of so many steps is too short for."""
    tasks, order, told = plan.data.tasks, plan.data.order, []
    if tasks is not None and tasks.length > steps:
        told.append(f"data.tasks: {tasks.length:,} tasks, of which some have no step")
    if order is not None and order.from_step >= steps:
        told.append(f"data.order: the order does not branch off, as there is no step {order.from_step:,}")
    return [f"{words} in a training of {steps:,}" for words in told]
