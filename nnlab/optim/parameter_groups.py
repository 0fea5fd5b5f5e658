"""What every optimizer takes beside its own keys: clipping of the gradient, and groups of layers with a rate
of their own or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

from nnlab.errors import InvalidValue
from nnlab.nn.layer import path_matches
from nnlab.optim.schedules import Schedule, ScheduleLike, Time
from nnlab.registry import Positive, Section, common_options
from nnlab.system.imports import Array, jax, jnp, optax


def layer_of(path: Sequence[Any]) -> str:
    """The path of the layer that an array of a tree by layers belongs to."""
    return "/".join(part.key for part in path[:-1])


class Group(NamedTuple):
    """Layers by pattern. learning_rate: None where they are frozen."""

    layers: Sequence[str]
    learning_rate: Schedule | None

    def holds(self, path: str) -> bool:
        """Whether a layer's path, or that of a layer around it, matches."""
        return path_matches(path, self.layers)


class Optimizer(NamedTuple):
    """learning_rate: of all layers that are in no group; direction: () -> `optax.GradientTransformation`, of
    the trees that `trained` gives.

    slots: arrays of the size of the weights that it remembers. groups: the first that holds a layer counts.
    """

    learning_rate: Schedule
    direction: Callable[[], Any]
    slots: int
    groups: Sequence[Group] = ()

    def group_of(self, path: str) -> int | None:
        """The number of the group that a layer is in."""
        return next((number for number, group in enumerate(self.groups) if group.holds(path)), None)

    def frozen(self, path: str) -> bool:
        number = self.group_of(path)
        return number is not None and self.groups[number].learning_rate is None

    def trained(self, params: Any) -> Any:
        """A tree of weights by layers without those of frozen layers, None in their place."""
        if not self.groups:
            return params

        def kept(path: Any, leaf: Any) -> Any:
            return None if self.frozen(layer_of(path)) else leaf

        return jax.tree_util.tree_map_with_path(kept, params)

    def begin(self, params: Any) -> Any:
        """Its state before the first step."""
        return self.direction().init(self.trained(params))

    @property
    def schedules(self) -> list[Schedule]:
        """The schedule of all layers that are in no group, then those of the groups that have one."""
        return [self.learning_rate, *(g.learning_rate for g in self.groups if g.learning_rate is not None)]

    def rates(self, memories: Sequence[Any], time: Time) -> Callable[[str], Array]:
        """The rate of a layer that is not frozen, by its path. memories: of each of `schedules`."""
        found = [s.rate(memory, time) for s, memory in zip(self.schedules, memories, strict=True)]
        rated = [number for number, group in enumerate(self.groups) if group.learning_rate is not None]

        def rate(path: str) -> Array:
            number = self.group_of(path)
            return found[0] if number is None else found[1 + rated.index(number)]

        return rate


def clip(
    value: Positive | None = None, norm: Positive | None = None, global_norm: Positive | None = None
) -> Callable[[], Any]:
    """Shortens gradients before the optimizer sees them (lecture 004); one of the three is given.

    value: every component to +-value, which turns the gradient: [0.9, 100] at 1 becomes [0.9, 1]. norm: each
    array of weights by itself to that Euclidean length, direction kept: [0.00899964, 0.9999595]. global_norm:
    all arrays together to that length (Pascanu et al. 2013). Keras's clipvalue, clipnorm, global_clipnorm. A
    gradient longer than 1.8e19, whose squares leave float32, becomes 0 by either norm.
    """
    if sum(given is not None for given in (value, norm, global_norm)) != 1:
        raise InvalidValue("give one of 'value', 'norm' and 'global_norm'")
    if value is not None:
        return lambda: optax.clip(value)
    if global_norm is not None:
        return lambda: optax.clip_by_global_norm(global_norm)
    return lambda: optax.stateless_with_tree_map(lambda gradient, _: _shortened(gradient, norm))


def _shortened(gradient: Array, most: Any) -> Array:
    """A gradient with its length brought down to `most`, its direction kept."""
    length = jnp.sqrt(jnp.square(gradient).sum())
    return gradient * jnp.where(length > most, most / length, 1.0)


def group(layers: str | list[str], learning_rate: ScheduleLike | None = None, frozen: bool = False) -> Group:
    """Layers with a rate of their own, a number or a schedule, or frozen: they keep their first weights, and
    work as in evaluation.

    layers: a path such as dense_1 or residual_1/dense_2, as `nnlab summary` prints it, or a pattern such as
    dense_*, or several; what lies inside a layer that matches is meant too.
    """
    if not layers:
        raise InvalidValue("name at least one layer", ("layers",))
    if frozen == (learning_rate is not None):
        raise InvalidValue("give one of 'learning_rate' and 'frozen: true'")
    return Group([layers] if isinstance(layers, str) else layers, learning_rate)


@common_options("optimizer")
def control(
    made: Optimizer,
    /,
    *,
    clip: Annotated[Any, Section(clip)] | None = None,
    groups: list[Annotated[Any, Section(group)]] = [],  # noqa: B006 - never changed
) -> Optimizer:
    """Keys of every optimizer.

    clip: {value: c}, {norm: c} or {global_norm: c} shortens gradients first. groups: layers with a rate of
    their own or none; the first group that holds a layer counts.
    """

    shortened = clip
    controlled = made
    if shortened is not None:
        controlled = made._replace(direction=lambda: optax.chain(shortened(), made.direction()))
    return controlled._replace(groups=groups) if groups else controlled
