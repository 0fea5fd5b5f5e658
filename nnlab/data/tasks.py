"""Tasks: sets of examples that one training learns one after the other.

Which task an example belongs to stands beside it, in `Examples.tasks`. When each task has its turn is the
business of training.

Letters in shapes: N examples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge, Le

from nnlab.data.classes import class_number, class_title
from nnlab.data.examples import Examples, concatenate_examples
from nnlab.errors import InvalidValue
from nnlab.registry import common_options, register
from nnlab.system.memory import available_bytes
from nnlab.system.random import generator
from nnlab.text import format_bytes

MAXIMUM_TASKS = 10_000
ClassNumber = Annotated[int, Ge(0)]
TaskCount = Annotated[int, Ge(2), Le(MAXIMUM_TASKS)]


class Tasks(NamedTuple):
    """How examples become a sequence of tasks.

    Attributes:
        length: The number of tasks.
        assign: (examples of a split, its name, seed) -> its examples with their tasks, perhaps some more than
            once. Raises InvalidValue.
        replay: How many examples of each earlier task are trained on in later ones.
    """

    length: int
    assign: Callable[[Examples, str, int], Examples]
    replay: int = 0

    def rows(self, train: Examples, seed: int) -> list[np.ndarray]:
        """The rows of the training examples that each task draws its batches from: its own, and those that
        are stored of each earlier task."""
        own = [np.flatnonzero(train.tasks == task) for task in range(self.length)]
        stored = [
            rows[generator(seed, "replay", task).permutation(len(rows))[: self.replay]]
            for task, rows in enumerate(own)
        ]
        return [np.concatenate([rows, *stored[:task]]) for task, rows in enumerate(own)]


@common_options("task_sequence")
def with_replay(tasks: Tasks, /, *, replay: Annotated[int, Ge(0)] = 0) -> Tasks:
    """Keys of every sequence of tasks, by which earlier tasks are kept in mind.

    Each task has an equal share of the steps, to within one; its batches are drawn from its own examples, of
    which a `full` batch is all. Weights, optimizer and schedules go on from task to task. tasks.csv has the
    loss and the accuracy of every task at every record, and the last step of each task is recorded; other
    metrics of a split are those of all its examples, of whatever task.

    Args:
        replay: How many training examples of each earlier task, drawn once, are among those that a later task
            draws its batches from; all of them where it has fewer.
    """
    return tasks._replace(replay=replay)


def assign_tasks(tasks: Tasks, examples: Examples, split: str, seed: int) -> Examples:
    """The examples of a split with their tasks. Raises InvalidValue where a task has none."""
    assigned = tasks.assign(examples, split, seed)
    for task in range(tasks.length):
        if not np.any(assigned.tasks == task):
            raise InvalidValue(f"no {split} example is of task {task + 1} (counted from 1)")
    return assigned


@register("task_sequence")
def by_class(classes: list[list[ClassNumber | str]]) -> Tasks:
    """Each task has the examples of some classes; the model tells all classes apart in each.

    Args:
        classes: For each task its classes, by number from 0, or by name where the data set has names; each
            class in one task.

    Reference:
        van de Ven & Tolias 2019, Three scenarios for continual learning (class-incremental learning).
    """

    def assign(examples: Examples, split: str, seed: int) -> Examples:
        if len(classes) < 2:
            raise InvalidValue("is no sequence; give the classes of two tasks or more", ("classes",))
        if not examples.classes:
            raise InvalidValue("needs class labels; this data set's targets are values")
        if examples.positions:
            raise InvalidValue("needs one class an example; here is one at every position")
        task_of = np.full(examples.classes, -1)
        for task, names in enumerate(classes):
            for place, name in enumerate(names):
                at = ("classes", task, place)
                try:
                    number = class_number(examples, name)
                except InvalidValue as error:
                    raise InvalidValue(str(error), at) from None
                if task_of[number] >= 0:
                    raise InvalidValue(f"names {class_title(examples, number)} twice; once is enough", at)
                task_of[number] = task
        if (task_of < 0).any():
            left_out = class_title(examples, int(task_of.argmin()))
            message = f"{left_out} is in no task; put it into one, or leave it out by data.keep_classes"
            raise InvalidValue(message, ("classes",))
        return replace(examples, tasks=task_of[examples.targets].astype(np.int32))

    return Tasks(len(classes), assign)


@register("task_sequence")
def random_labels(count: TaskCount) -> Tasks:
    """Each task has all examples, with labels drawn anew, uniformly over the classes.

    There is nothing to generalize from: what is seen is how well the training labels are learnt by heart. How
    many examples a task has, `split` and `limit` say.

    Args:
        count: The number of tasks.

    Reference:
        Dohare et al. 2024, Loss of plasticity in deep continual learning; Lyle et al. 2023, Understanding
        plasticity in neural networks.
    """

    def assign(examples: Examples, split: str, seed: int) -> Examples:
        if not examples.classes:
            raise InvalidValue("needs class labels; this data set's targets are values")
        _check_memory(count, examples, examples.inputs.nbytes)
        random = generator(seed, "task labels", split)
        labels = random.integers(0, examples.classes, (count, *examples.targets.shape), np.int32)
        every = examples.take(np.tile(np.arange(len(examples)), count))
        return replace(every, targets=np.concatenate(labels), tasks=_numbers(count, len(examples)))

    return Tasks(count, assign)


@register("task_sequence")
def permuted_inputs(count: TaskCount) -> Tasks:
    """Each task has all examples, with the features of their inputs in an order of its own.

    The first task has them in their own order; in each other one a permutation is drawn, the same for all
    examples. Targets stay.

    Args:
        count: The number of tasks.

    Reference:
        Goodfellow et al. 2013, An empirical investigation of catastrophic forgetting in gradient-based neural
        networks.
    """

    def assign(examples: Examples, split: str, seed: int) -> Examples:
        inputs = np.asarray(examples.inputs)
        _check_memory(count, examples, inputs.nbytes)
        features = inputs.reshape(len(inputs), -1)
        orders = [
            generator(seed, "task inputs", task).permutation(features.shape[1]) for task in range(1, count)
        ]
        permuted = [features[:, order].reshape(inputs.shape) for order in orders]
        every = concatenate_examples(*(replace(examples, inputs=values) for values in (inputs, *permuted)))
        return replace(every, tasks=_numbers(count, len(examples)))

    return Tasks(count, assign)


def _check_memory(count: int, examples: Examples, input_bytes: int) -> None:
    """All examples, so many times, must fit into memory twice, as they are copied when they are put together.
    Raises InvalidValue."""
    size = count * (input_bytes + examples.targets.nbytes + examples.rows.nbytes)
    free = available_bytes()
    if free is not None and 2 * size > free:
        raise InvalidValue(
            f"{count:,} times {len(examples):,} examples take {format_bytes(size)}, too much for memory; let "
            "there be fewer, or give data.limit",
            ("count",),
        )


def _numbers(count: int, examples: int) -> np.ndarray:
    """The task of each of so many examples, one task after the other."""
    return np.repeat(np.arange(count, dtype=np.int32), examples)
