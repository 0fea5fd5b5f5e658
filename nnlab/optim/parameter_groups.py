"""Optimizers, and what all of them take beside their own keys: clipping of the gradient, and groups of layers
with a learning rate of their own or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from nnlab.errors import InvalidValue
from nnlab.nn.layer import path_matches
from nnlab.optim.schedules import Schedule, ScheduleLike, Time
from nnlab.optim.stability import Stability
from nnlab.registry import Positive, common_options, section
from nnlab.system.imports import Array, PyTree, jax, jnp, optax


def layer_of(path: Sequence[Any]) -> str:
    """The path of the layer that an array of a tree by layers belongs to."""
    return "/".join(part.key for part in path[:-1])


@section(name="group")
@dataclass(frozen=True)
class ParameterGroup:
    """Layers with a learning rate of their own, or frozen; one of the two is given.

    Args:
        layers: A path such as dense_1 or residual_1/dense_2, as `nnlab summary` prints it, a pattern such as
            dense_*, or several of them; a layer inside one that matches belongs to the group too.
        learning_rate: A number or a schedule.
        frozen: The layers keep their first weights and work as in evaluation.
    """

    layers: str | Sequence[str]
    learning_rate: ScheduleLike | None = None
    frozen: bool = False

    def __post_init__(self) -> None:
        if not self.layers:
            raise InvalidValue("name at least one layer", ("layers",))
        if self.frozen == (self.learning_rate is not None):
            raise InvalidValue("give one of 'learning_rate' and 'frozen: true'")

    @property
    def patterns(self) -> Sequence[str]:
        """The patterns of layer paths."""
        return [self.layers] if isinstance(self.layers, str) else self.layers

    def contains(self, path: str) -> bool:
        """Whether a layer's path, or that of a layer around it, matches."""
        return path_matches(path, self.patterns)


class Optimizer(NamedTuple):
    """An optimizer.

    Attributes:
        learning_rate: Of all layers that are in no group.
        gradient_transform: () -> the transformation of gradients to directions, of trees as `trained` gives
            them. One with extra arguments gets the rate of the step, the rates, a tree of them, and the
            momentum that the schedule sets, see `direction`.
        slots: How many arrays of the size of the weights its state holds.
        groups: The first that contains a layer counts.
        ascent: (weights, gradients there) -> the weights at whose gradients it steps, where those are not the
            present ones.
        average: (the average so far, step, weights after it, optimizer's state after it) -> the average of
            the weights after a step, where that is what is evaluated and returned.
        stability: Where its steps stay stable; None where that is not known.
        takes_momentum: Whether its momentum may be that of the schedule.
    """

    learning_rate: Schedule
    gradient_transform: Callable[[], optax.GradientTransformation]
    slots: int
    groups: Sequence[ParameterGroup] = ()
    ascent: Callable[[PyTree, PyTree], PyTree] | None = None
    average: Callable[[PyTree, Array, PyTree, PyTree], PyTree] | None = None
    stability: Stability | None = None
    takes_momentum: bool = False

    def group_of(self, path: str) -> int | None:
        """The index of the group that a layer is in."""
        return next((number for number, group in enumerate(self.groups) if group.contains(path)), None)

    def frozen(self, path: str) -> bool:
        """Whether a layer keeps its first weights."""
        number = self.group_of(path)
        return number is not None and self.groups[number].learning_rate is None

    def trained(self, params: PyTree) -> PyTree:
        """A tree of weights by layers with None in place of those of frozen layers."""
        if not self.groups:
            return params

        def unless_frozen(path: Sequence[Any], leaf: Array) -> Array | None:
            return None if self.frozen(layer_of(path)) else leaf

        return jax.tree_util.tree_map_with_path(unless_frozen, params)

    def init(self, params: PyTree) -> PyTree:
        """Its state before the first step."""
        return self.gradient_transform().init(self.trained(params))

    @property
    def schedules(self) -> list[Schedule]:
        """The schedule of all layers that are in no group, then those of the groups that have one."""
        return [self.learning_rate, *(g.learning_rate for g in self.groups if g.learning_rate is not None)]

    def rates(self, states: Sequence[PyTree], time: Time) -> Callable[[str], Array]:
        """The learning rate by path of a layer that is not frozen.

        Args:
            states: Those of `schedules`.
            time: The moment of the step.
        """
        rates = [schedule.rate(state, time) for schedule, state in zip(self.schedules, states, strict=True)]
        trained = [number for number, group in enumerate(self.groups) if group.learning_rate is not None]

        def rate(path: str) -> Array:
            number = self.group_of(path)
            return rates[0] if number is None else rates[1 + trained.index(number)]

        return rate

    def direction(
        self, gradients: PyTree, state: PyTree, params: PyTree, schedules: Sequence[PyTree], time: Time
    ) -> tuple[PyTree, PyTree]:
        """What it makes of gradients, and its state after the step.

        Args:
            gradients: A tree like `trained`.
            state: Its state.
            params: The weights, a tree like `trained`.
            schedules: The states of `schedules`.
            time: The moment of the step.
        """
        rate, momentum = self.rates(schedules, time), self.learning_rate.momentum
        return optax.with_extra_args_support(self.gradient_transform()).update(
            gradients,
            state,
            params,
            rate=self.learning_rate.rate(schedules[0], time),
            rates=jax.tree_util.tree_map_with_path(lambda path, _: rate(layer_of(path)), gradients),
            momentum=None if momentum is None else momentum(time),
        )


@section()
@dataclass(frozen=True)
class Clip:
    """Shortens gradients before the optimizer sees them (lecture 004); one of the three keys is given.

    Keras's clipvalue, clipnorm and global_clipnorm. A gradient longer than 1.8e19, whose squares leave
    float32, becomes 0 by either norm.

    Args:
        value: The greatest size of a component, which turns the gradient: [0.9, 100] at 1 becomes [0.9, 1].
        norm: The greatest Euclidean length of each array of weights by itself, direction kept: [0.9, 100] at
            1 becomes [0.00899964, 0.9999595].
        global_norm: The greatest length of all arrays together.

    Reference:
        global_norm: Pascanu et al. 2013, "On the difficulty of training recurrent neural networks".
    """

    value: Positive | None = None
    norm: Positive | None = None
    global_norm: Positive | None = None

    def __post_init__(self) -> None:
        if sum(limit is not None for limit in (self.value, self.norm, self.global_norm)) != 1:
            raise InvalidValue("give one of 'value', 'norm' and 'global_norm'")

    def transform(self) -> optax.GradientTransformation:
        """The transformation of gradients that clips."""
        if self.value is not None:
            return optax.clip(self.value)
        if self.norm is not None:
            limit = self.norm
            return optax.stateless_with_tree_map(lambda gradient, _: _clip_by_norm(gradient, limit))
        return optax.clip_by_global_norm(self.global_norm)


def _clip_by_norm(gradient: Array, limit: float) -> Array:
    """A gradient shortened to the length `limit`, its direction kept."""
    length = jnp.sqrt(jnp.square(gradient).sum())
    return gradient * jnp.where(length > limit, limit / length, 1.0)


@common_options("optimizer")
def with_clip_and_groups(
    optimizer: Optimizer,
    /,
    *,
    clip: Clip | None = None,
    groups: Sequence[ParameterGroup] = (),
) -> Optimizer:
    """Keys of every optimizer, by which gradients are clipped and layers learn at rates of their own.

    Args:
        clip: {value: c}, {norm: c} or {global_norm: c} shortens gradients first.
        groups: Layers with a learning rate of their own or none; the first group that contains a layer
            counts.
    """
    cycled = optimizer.learning_rate.momentum is not None
    if cycled and not optimizer.takes_momentum:
        raise InvalidValue("sets a momentum, which only sgd takes", ("learning_rate",))
    for number, group in enumerate(groups):
        if group.learning_rate is not None and group.learning_rate.momentum is not None:
            raise InvalidValue(
                "sets a momentum, which is that of all layers: give it to the rate beside the groups",
                ("groups", number, "learning_rate"),
            )
    if clip is not None:
        clipping, transform = clip, optimizer.gradient_transform
        optimizer = optimizer._replace(
            gradient_transform=lambda: optax.chain(clipping.transform(), transform()), stability=None
        )
    return optimizer._replace(groups=groups) if groups else optimizer
