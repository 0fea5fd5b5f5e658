"""Augmentations of sequences of tokens, such as the windows of a text; their targets stay as they are."""

from __future__ import annotations

import functools
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

    return Augmentation(apply, functools.partial(_check_sequence, "typos"), of_tokens=True)


@augmentation
def swapped_words(
    rate: Annotated[float, Ge(0.0), Le(1.0), TRACED] = 0.1, space: Annotated[int, Ge(0)] = 32
) -> Augmentation:
    """Lets words change places with their neighbours (lecture 001), each pair with a probability.

    A word is what lies between two spaces, with the space behind it. The words of a sequence are taken in
    pairs, beginning with the first or the second one at random; a word that the sequence breaks off stays
    where it is.

    Args:
        rate: The probability of a pair, 0 to 1.
        space: The token that ends a word; 32 is the space of a text in bytes. In characters it is the place
            of the space in the sorted vocabulary, 1 where only the line feed is before it.
    """

    def apply(key: Array, inputs: Array) -> Augmented:
        first_key, pairs_key = jax.random.split(key)
        ends = (inputs == space).astype(jnp.int32)
        word = jnp.cumsum(ends, axis=1) - ends  # the number of each token's word
        shifted = word + jax.random.bernoulli(first_key, shape=(inputs.shape[0], 1)).astype(jnp.int32)
        swaps = jax.random.bernoulli(pairs_key, rate, inputs.shape)  # by pair, more than there are
        neighbour = word + 1 - 2 * (shifted % 2)
        count = ends.sum(1, keepdims=True)  # of words that are whole
        moves = jnp.take_along_axis(swaps, shifted // 2, axis=1) & (neighbour >= 0)
        place = jnp.where(moves & (word < count) & (neighbour < count), neighbour, word)
        return Augmented(jnp.take_along_axis(inputs, jnp.argsort(place, axis=1, stable=True), axis=1))

    return Augmentation(apply, functools.partial(_check_sequence, "swapped_words"), of_tokens=True)


def _check_sequence(name: str, shape: Shape) -> None:
    if len(shape) != 1 or shape[0] < 2:
        raise InvalidValue(f"{name} takes sequences of two tokens or more; the inputs are {list(shape)}")
