"""Augmentations: training inputs are changed at random, anew at each step, so that a net learns what does not
depend on the change. Validation and test inputs stay as they are.

They see a batch as it is trained on, already normalized: images `[B, H, W]` or `[B, H, W, C]`, signals
`[B, L]`. Each example has a change of its own. `fill` is what comes into sight from beyond the border: a
value (0 is the mean of standardized inputs), the nearest pixel (`edge`), or what left on the other side
(`wrap`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Gt, Le

from nnlab.errors import InvalidValue
from nnlab.registry import TRACED, Count, Fraction, NonNegative, Positive, register
from nnlab.system.imports import Array, jax, jnp

Shape = tuple[int, ...]
Pixels = Annotated[int, Ge(0), Le(10_000)]
Factor = Annotated[float, Ge(1.0), Le(1000.0)]
Fill = float | Literal["edge", "wrap"]

BEYOND = {"edge": "nearest", "wrap": "wrap"}  # the same, in the words of map_coordinates


class Augmented(NamedTuple):
    """A batch after augmentation.

    inputs: `[B, ...]`, of the shape they came with. partner: `[B]`, the example of the batch that is mixed
    into each; share: `[B]`, its share, in [0, 1]; both None where nothing is mixed.
    """

    inputs: Array
    partner: Array | None = None
    share: Array | None = None


class Augmentation(NamedTuple):
    """apply: (key, inputs `[B, ...]`) -> Augmented, a pure function; the same key gives the same change.
    validate: raises InvalidValue where inputs of a shape, without batch, are not what it changes. mixes:
    whether it mixes examples with each other, and so their targets.
    """

    apply: Callable[[Array, Array], Augmented]
    validate: Callable[[Shape], None] = lambda shape: None
    mixes: bool = False
    name: str = ""


augmentation = register("augmentation", label="name")
"""Register a function that returns an Augmentation."""


def apply_augmentations(augmentations: Sequence[Augmentation], key: Array, inputs: Array) -> Augmented:
    """One after the other, each with a key of its own; at most one mixes, see `check_mixing`."""
    found = Augmented(inputs)
    for number, one in enumerate(augmentations):
        changed = one.apply(jax.random.fold_in(key, number), found.inputs)
        found = changed if one.mixes else found._replace(inputs=changed.inputs)
    return found


def check_mixing(augmentations: Sequence[Augmentation]) -> None:
    """Refuse a chain that mixes twice: an example has one partner. Raises InvalidValue."""
    mixing = [number for number, one in enumerate(augmentations) if one.mixes]
    if len(mixing) > 1:
        raise InvalidValue("the examples are mixed already; list one that mixes", (mixing[1],))


# --- where the pixels are --------------------------------------------------------------------------------


@augmentation
def shift(pixels: Pixels = 1, fill: Fill = 0.0) -> Augmentation:
    """x'[i, j] = x[i + a, j + b] with whole a and b, each uniform in -pixels .. pixels.

    A signal is shifted along its one axis. Lecture 001's notebook shifts by a roll: `pixels: 1, fill: wrap`.
    With a value as fill it is also known as a random crop of the padded image: PyTorch's
    `RandomCrop(size, padding=p)` is `pixels: p`.
    """

    def apply(key: Array, inputs: Array) -> Augmented:
        shape, axes = inputs.shape[1:], len(_sides(inputs))
        drawn = jax.random.uniform(key, (len(inputs), axes))
        starts = jnp.floor(drawn * (2 * pixels + 1)).astype(jnp.int32)

        def cut(padded: Array, start: Array) -> Array:
            return jax.lax.dynamic_slice(padded, [*start, *[0] * (len(shape) - axes)], shape)

        return Augmented(jax.vmap(cut)(_padded(inputs, pixels, fill), starts))

    def validate(shape: Shape) -> None:
        _check("shift", shape)
        if pixels >= min(shape[:2]):
            message = f"{pixels} can move all of an input {list(shape)} out of sight"
            raise InvalidValue(message, ("pixels",))

    return Augmentation(apply, validate)


@augmentation
def crop(share: Annotated[float, Gt(0.0), Le(1.0), TRACED] = 0.8) -> Augmentation:
    """A piece of the input, drawn out to its size: a share s of the area, uniform in [share, 1].

    The piece has the input's proportions, sides times sqrt(s) (a signal's length times s), and lies anywhere
    within; between pixels values are interpolated linearly. Szegedy et al. 2015; PyTorch's
    `RandomResizedCrop` with `scale=(share, 1)` and `ratio=(1, 1)`. A crop of a padded image is `shift`.
    """

    def apply(key: Array, inputs: Array) -> Augmented:
        sides = _sides(inputs)
        drawn = jax.random.uniform(key, (len(inputs), 1 + len(sides)))
        area = share + (1.0 - share) * drawn[:, 0]
        ratio = jnp.sqrt(area) if len(sides) == 2 else area
        starts = [(1.0 - ratio) * side * drawn[:, 1 + axis] for axis, side in enumerate(sides)]
        return Augmented(_drawn_out(inputs, ratio, starts, "edge"))

    return Augmentation(apply, lambda shape: _check("crop", shape))


@augmentation
def scale(factor: Annotated[Factor, TRACED] = 1.2, fill: Fill = 0.0) -> Augmentation:
    """The input is enlarged about its centre f times, log f uniform in [-log factor, log factor].

    So it comes larger as often as smaller, where `fill` shows at the border. A signal is stretched in time;
    for its height see `contrast`. Between pixels values are interpolated linearly.
    """

    def apply(key: Array, inputs: Array) -> Augmented:
        ratio = _factors(key, len(inputs), factor)
        starts = [(1.0 - ratio) * side / 2 for side in _sides(inputs)]
        return Augmented(_drawn_out(inputs, ratio, starts, fill))

    return Augmentation(apply, lambda shape: _check("scale", shape))


@augmentation
def rotate(degrees: Annotated[float, Ge(0.0), Le(180.0), TRACED] = 10.0, fill: Fill = 0.0) -> Augmentation:
    """An image is turned about its centre by an angle uniform in [-degrees, degrees].

    Between pixels values are interpolated linearly.
    """

    def apply(key: Array, inputs: Array) -> Augmented:
        angles = jax.random.uniform(key, (len(inputs),), minval=-1.0) * degrees * (math.pi / 180)
        return Augmented(_turned(inputs, angles, fill))

    return Augmentation(apply, lambda shape: _check("rotate", shape, images_only=True))


@augmentation
def flip(
    axis: Literal["horizontal", "vertical"] = "horizontal", probability: Annotated[Fraction, TRACED] = 0.5
) -> Augmentation:
    """The input is mirrored, left for right (`horizontal`) or top for bottom, with this probability.

    A signal that is flipped horizontally runs backwards.
    """

    def apply(key: Array, inputs: Array) -> Augmented:
        number = 1 if axis == "vertical" or inputs.ndim == 2 else 2
        flipped = _each(jax.random.uniform(key, (len(inputs),)) < probability, inputs)
        return Augmented(jnp.where(flipped, jnp.flip(inputs, number), inputs))

    return Augmentation(apply, lambda shape: _check(f"{axis} flip", shape, images_only=axis == "vertical"))


@augmentation
def cutout(size: Count = 8, fill: float = 0.0) -> Augmentation:
    """A square of size x size pixels, of a signal a stretch of `size` points, is overwritten with `fill`.

    Its middle is uniform over the input, so that it may stand out over the border (DeVries & Taylor 2017).
    """

    def apply(key: Array, inputs: Array) -> Augmented:
        sides = _sides(inputs)
        drawn = jax.random.uniform(key, (len(inputs), len(sides)))
        hidden = jnp.ones((len(inputs), *[1] * len(sides)), bool)
        for axis, side in enumerate(sides):
            first = jnp.floor(drawn[:, axis] * side).astype(jnp.int32) - size // 2
            place = jnp.arange(side)[None] - first[:, None]
            hidden = hidden & _along((place >= 0) & (place < size), axis, len(sides))
        hidden = hidden.reshape(*hidden.shape, *[1] * (inputs.ndim - hidden.ndim))
        return Augmented(jnp.where(hidden, fill, inputs))

    return Augmentation(apply, lambda shape: _check("cutout", shape))


# --- what the values are ---------------------------------------------------------------------------------


@augmentation
def brightness(delta: Annotated[NonNegative, TRACED] = 0.2) -> Augmentation:
    """x' = x + b for all values of an example, b uniform in [-delta, delta], in units of the inputs.

    Nothing is cut off at a greatest or least value.
    """

    def apply(key: Array, inputs: Array) -> Augmented:
        added = delta * jax.random.uniform(key, (len(inputs),), minval=-1.0)
        return Augmented(inputs + _each(added, inputs))

    return Augmentation(apply)


@augmentation
def contrast(factor: Annotated[Factor, TRACED] = 1.2) -> Augmentation:
    """x' = m + f (x - m), m the mean of the example's values, log f uniform in [-log factor, log factor].

    Of a signal it changes the height. Nothing is cut off at a greatest or least value.
    """

    def apply(key: Array, inputs: Array) -> Augmented:
        more = _each(_factors(key, len(inputs), factor) - 1.0, inputs)
        mean = inputs.mean(range(1, inputs.ndim), keepdims=True)
        return Augmented(inputs + more * (inputs - mean))

    return Augmentation(apply)


@augmentation
def noise(std: Annotated[NonNegative, TRACED] = 0.1) -> Augmentation:
    """x' = x + N(0, std^2) for each value, std in units of the inputs.

    To a linear net under squared_error it is a penalty: std^2 times the sum of squared weights (Bishop 1995).
    """

    def apply(key: Array, inputs: Array) -> Augmented:
        return Augmented(inputs + std * jax.random.normal(key, inputs.shape))

    return Augmentation(apply)


@augmentation
def mixup(alpha: Positive = 0.2) -> Augmentation:
    """x' = (1 - s) x + s x[partner], s ~ Beta(alpha, alpha) for each example (Zhang et al. 2018).

    The loss is mixed likewise: (1 - s) loss(x', y) + s loss(x', y[partner]). A small alpha leaves most
    examples nearly whole, 1 makes s uniform in [0, 1]. The partner is as many examples further on in the
    batch as are drawn anew for each batch; in one example a batch there is nothing to mix.
    """

    def apply(key: Array, inputs: Array) -> Augmented:
        count = len(inputs)
        of_share, of_partner = jax.random.split(key)
        share = jax.random.beta(of_share, alpha, alpha, (count,))
        partner = (jnp.arange(count) + jax.random.randint(of_partner, (), 0, count)) % count
        return Augmented(inputs + _each(share, inputs) * (inputs[partner] - inputs), partner, share)

    return Augmentation(apply, mixes=True)


# --- shapes and places -----------------------------------------------------------------------------------


def _check(name: str, shape: Shape, images_only: bool = False) -> None:
    """Refuse inputs without a place for each value. Raises InvalidValue."""
    signals = "" if images_only else "signals [L] or "
    if len(shape) not in ((2, 3) if images_only else (1, 2, 3)):
        raise InvalidValue(f"{name} takes {signals}images [H, W] or [H, W, C]; the inputs are {list(shape)}")


def _sides(inputs: Array) -> Shape:
    """The lengths of the axes that are places: a signal's one, an image's first two."""
    return inputs.shape[1:3]


def _each(values: Array, inputs: Array) -> Array:
    """One value an example, `[B]`, with as many axes as the inputs."""
    return values.reshape(-1, *[1] * (inputs.ndim - 1))


def _along(values: Array, axis: int, axes: int) -> Array:
    """Values `[B, side]` along one of so many axes."""
    return values.reshape(len(values), *(-1 if number == axis else 1 for number in range(axes)))


def _factors(key: Array, count: int, factor: Any) -> Array:
    """`[count]`, between 1 / factor and factor, their logarithms uniform."""
    return jnp.exp(jnp.log(factor) * jax.random.uniform(key, (count,), minval=-1.0))


def _padded(inputs: Array, pixels: int, fill: Fill) -> Array:
    """With so many pixels more before and behind each axis of places."""
    places = len(_sides(inputs))
    widths = [(pixels, pixels) if 1 <= axis <= places else (0, 0) for axis in range(inputs.ndim)]
    if isinstance(fill, str):
        return jnp.pad(inputs, widths, mode=fill)
    return jnp.pad(inputs, widths, constant_values=fill)


def _drawn_out(inputs: Array, ratio: Array, starts: Sequence[Array], fill: Fill) -> Array:
    """The pieces that begin at `starts`, `[B]` for each axis, in pixels from the border, with sides times
    ratio, `[B]`, drawn out to the size of the inputs."""
    places = []
    for axis, (side, start) in enumerate(zip(_sides(inputs), starts, strict=True)):
        middles = np.arange(side, dtype=np.float32)[None] + 0.5
        along = start[:, None] + ratio[:, None] * middles - 0.5
        places.append(_along(along, axis, len(starts)))
    return _resampled(inputs, jnp.broadcast_arrays(*places), fill)


def _turned(images: Array, angles: Array, fill: Fill) -> Array:
    """Images turned counterclockwise by angles, `[B]` in radians, about their centre."""
    middles = [(side - 1) / 2 for side in _sides(images)]
    down, right = (
        np.arange(side, dtype=np.float32) - middle
        for side, middle in zip(_sides(images), middles, strict=True)
    )
    down, right = down[None, :, None], right[None, None, :]
    cos, sin = jnp.cos(angles)[:, None, None], jnp.sin(angles)[:, None, None]
    return _resampled(
        images, [middles[0] + cos * down + sin * right, middles[1] - sin * down + cos * right], fill
    )


def _resampled(inputs: Array, places: Sequence[Array], fill: Fill) -> Array:
    """The inputs at places, `[B, ...]` for each axis, between pixels by linear interpolation."""
    mode, beyond = ("constant", fill) if not isinstance(fill, str) else (BEYOND[fill], 0.0)

    def one(example: Array, *at: Array) -> Array:
        if example.ndim > len(at):
            return jax.vmap(lambda channel: one(channel, *at), in_axes=-1, out_axes=-1)(example)
        return jax.scipy.ndimage.map_coordinates(example, at, order=1, mode=mode, cval=beyond)

    return jax.vmap(one)(inputs, *places)
