"""Augmentation: training inputs are changed at random, anew at each step.

So a network learns what does not depend on the change. Validation and test inputs stay as they are. An
augmentation receives a batch as it is trained on, already normalized: images `[B, H, W]` or `[B, H, W, C]`,
signals `[B, L]`, or tokens `[B, L]`. Each example has its own random change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal, NamedTuple

from annotated_types import Ge, Le

from nnlab.errors import InvalidValue
from nnlab.registry import register
from nnlab.system.imports import Array, jax, jnp

Shape = tuple[int, ...]
Factor = Annotated[float, Ge(1.0), Le(1000.0)]
Fill = float | Literal["edge", "wrap"]


class Augmented(NamedTuple):
    """A batch after augmentation.

    Attributes:
        inputs: `[B, ...]`, of the same shape as before.
        partner: `[B]`, the index in the batch of the example that is mixed into each; None where nothing is
            mixed.
        share: `[B]`, the share of the partner, in [0, 1]; None where nothing is mixed.
    """

    inputs: Array
    partner: Array | None = None
    share: Array | None = None


class Augmentation(NamedTuple):
    """A random change of a batch.

    Attributes:
        apply: (key, inputs `[B, ...]`) -> Augmented. A pure function: the same key makes the same change.
        validate: Raises InvalidValue where inputs of a shape (without batch axis) cannot be changed so.
        mixes: Whether examples are mixed with each other, and so are their targets.
        of_tokens: Whether it changes tokens; others change numbers.
        values: Which ones it makes: the inputs' `own` at other places, those `between` them, or `any`.
        fill: A value that it brings in beside these; `edge` and `wrap` are the inputs' own.
        name: Its name in the registry.
    """

    apply: Callable[[Array, Array], Augmented]
    validate: Callable[[Shape], None] = lambda shape: None
    mixes: bool = False
    of_tokens: bool = False
    values: Literal["own", "between", "any"] = "any"
    fill: Fill = "edge"
    name: str = ""


augmentation = register("augmentation")
"""Register a function that returns an Augmentation."""


def apply_augmentations(augmentations: Sequence[Augmentation], key: Array, inputs: Array) -> Augmented:
    """Apply augmentations one after the other, each with its own key.

    Args:
        augmentations: The augmentations in order; one of them mixes, at most (see `check_mixing`).
        key: A random key.
        inputs: `[B, ...]`.
    """
    batch = Augmented(inputs)
    for number, one in enumerate(augmentations):
        changed = one.apply(jax.random.fold_in(key, number), batch.inputs)
        batch = changed if one.mixes else batch._replace(inputs=changed.inputs)
    return batch


def check_mixing(augmentations: Sequence[Augmentation]) -> None:
    """Refuse a list that mixes twice, since an example has one partner.

    Raises:
        InvalidValue: More than one augmentation mixes.
    """
    mixing = [number for number, one in enumerate(augmentations) if one.mixes]
    if len(mixing) > 1:
        raise InvalidValue("the examples are mixed already; list one that mixes", (mixing[1],))


def per_example(values: Array, inputs: Array) -> Array:
    """One value for each example, `[B]`, reshaped to as many axes as the inputs have."""
    return values.reshape(-1, *[1] * (inputs.ndim - 1))


def draw_factors(key: Array, count: int, factor: float | Array) -> Array:
    """Random factors, their logarithms uniform.

    Args:
        key: A random key.
        count: How many.
        factor: The largest; the smallest is 1 / factor.

    Returns:
        `[count]`.
    """
    return jnp.exp(jnp.log(factor) * jax.random.uniform(key, (count,), minval=-1.0))
