"""Augmentations of sequences of tokens, such as the windows of a text; their targets stay as they are."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Le

from nnlab.data.augment import Augmentation, Augmented, Shape, augmentation
from nnlab.errors import InvalidValue
from nnlab.registry import TRACED
from nnlab.system.imports import Array, jax, jnp


@augmentation
def typos(rate: Annotated[float, Ge(0.0), Le(1.0), TRACED] = 0.05) -> Augmentation:
    """Mistypes tokens (lecture 001), each with a probability: half of these change places with the next token
    of their sequence, half become a token that is drawn from all of the batch.

    A token that has changed places does not do so again, and the last one of a sequence has no next one.

    Args:
        rate: The probability, 0 to 1.
    """

    def apply(key: Array, inputs: Array) -> Augmented:
        how_key, where_key = jax.random.split(key)
        how = jax.random.uniform(how_key, inputs.shape)
        drawn = jax.random.randint(where_key, inputs.shape, 0, inputs.size)
        typed = jnp.where(how < rate / 2, inputs.reshape(-1)[drawn], inputs)
        wanted = jnp.logical_and(how >= rate / 2, how < rate)
        first = jnp.logical_and(wanted[:, :-1], jnp.logical_not(jnp.pad(wanted, ((0, 0), (1, 0)))[:, :-2]))
        is_first = jnp.pad(first, ((0, 0), (0, 1)))
        is_second = jnp.pad(first, ((0, 0), (1, 0)))
        moved = jnp.where(is_first, jnp.roll(typed, -1, axis=1), typed)
        return Augmented(jnp.where(is_second, jnp.roll(typed, 1, axis=1), moved))

    return Augmentation(apply, _check_sequence, of_tokens=True)


def _check_sequence(shape: Shape) -> None:
    if len(shape) != 1 or shape[0] < 2:
        raise InvalidValue(f"typos takes sequences of two tokens or more; the inputs are {list(shape)}")
