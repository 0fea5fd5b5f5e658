"""Architectures by name, built of the layers: what varies in experiments are their parameters."""

from __future__ import annotations

import functools
import math
from typing import Annotated, Literal

from annotated_types import Ge, Le

from nnlab.errors import InvalidValue
from nnlab.nn.activations import elementwise, relu, scaled_tanh
from nnlab.nn.combinators import residual, sequential
from nnlab.nn.convolution import conv2d
from nnlab.nn.dense import dense
from nnlab.nn.initializers import constant, lecun_uniform
from nnlab.nn.layer import (
    ActivationLike,
    InitializerLike,
    Layer,
    LayerLike,
    layer,
)
from nnlab.nn.normalization import batch_norm
from nnlab.nn.pooling import average_pool, global_average_pool, max_pool, subsample
from nnlab.nn.rbf import rbf
from nnlab.nn.regularization import dropout
from nnlab.nn.reshaping import flatten
from nnlab.registry import BelowOne, Count

H2 = [[*range(8)]] * 4 + [[*range(4, 12)]] * 4 + [[*range(4), *range(8, 12)]] * 4
"""Which maps of H1 each filter of H2 sees in `lenet1989`."""

C3 = [
    *([first, (first + 1) % 6, (first + 2) % 6] for first in range(6)),
    *([first, (first + 1) % 6, (first + 2) % 6, (first + 3) % 6] for first in range(6)),
    *([first, (first + 1) % 6, (first + 3) % 6, (first + 4) % 6] for first in range(3)),
    [*range(6)],
]
"""Which maps of S2 each filter of C3 sees in `lenet5`: Table I of LeCun et al. 1998."""


@layer
def lenet1989(
    activation: ActivationLike = "tanh",
    squash_outputs: bool = True,
    dropout_rate: BelowOne = 0.0,
    outputs: Count = 10,
) -> Layer:
    """The convolutional net of LeCun et al. 1989, for images of digits. `[B, 16, 16] -> [B, outputs]`.

    H1 and H2: 12 filters of 5 x 5, stride 2, with a bias for each place; each filter of H2 sees 8 of the 12
    maps. H3: 30 units. With 10 outputs 9,760 parameters (1,068, 2,592, 5,790, 310). Inputs lie in [-1, 1]
    and are padded with -1. Kernels are uniform in +-2.4 / sqrt(fan_in), biases 0, the output's -1.
    activation: after each hidden layer. squash_outputs: tanh of the outputs, for the squared error against
    +-1; false leaves logits. dropout_rate: after H3's activation. As karpathy/lecun1989-repro has it, where
    the dropout comes before H3; the paper's f is scaled_tanh, and does not say which maps a filter sees.
    """
    kernel_init = functools.partial(lecun_uniform, gain=2.4 / math.sqrt(3))

    def convolution(connections: list[list[int]] | None) -> Layer:
        return conv2d(
            12,
            5,
            stride=2,
            padding=[2, 1],
            padding_value=-1.0,
            untied_bias=True,
            connections=connections,
            kernel_init=kernel_init,
        )

    hidden = [convolution(None), convolution(H2), flatten(), dense(30, kernel_init=kernel_init)]
    read_out = dense(outputs, kernel_init=kernel_init, bias_init=functools.partial(constant, value=-1.0))
    squash = elementwise(activation)
    h1, h2, flat, h3 = hidden
    return sequential(
        [h1, squash, h2, squash, flat, h3, squash]
        + [dropout(dropout_rate)] * (dropout_rate > 0)
        + [read_out]
        + ["tanh"] * squash_outputs
    )


@layer
def lenet5(
    form: Literal["original", "modern"] = "modern",
    activation: ActivationLike | None = None,
    pooling: Literal["max", "average"] | None = None,
    outputs: Count = 10,
    kernel_init: InitializerLike = "glorot_uniform",
) -> Layer:
    """LeNet-5 (LeCun et al. 1998). `[B, 28, 28] -> [B, outputs]`; the maps' sides are 28, 14, 10, 5 and 1.

    C1: 6 filters of 5 x 5, padded by 2. S2: pooling. C3: 16 filters of 5 x 5. S4: pooling. C5: 120 filters of
    5 x 5. F6: 84 units. form: `original` has 60,000 parameters (156, 12, 1,516, 32, 48,120, 10,164): S2 and
    S4 are `subsample`, each filter of C3 sees some of the 6 maps, and the outputs are `rbf`, without
    parameters; the activation follows each layer. `modern` has 61,706 with 10 outputs: C3 sees all maps and
    the read-out is dense. activation: null is scaled_tanh in the original, relu in the modern form. pooling:
    of the modern form, null is max.
    """
    original = form == "original"
    if original and pooling is not None:
        raise InvalidValue("the original form subsamples; leave pooling out", ("pooling",))
    squash = elementwise(activation or (scaled_tanh if original else relu))
    c1 = conv2d(6, 5, padding=2, kernel_init=kernel_init)
    c3 = conv2d(16, 5, connections=C3 if original else None, kernel_init=kernel_init)
    c5 = conv2d(120, 5, kernel_init=kernel_init)
    f6 = dense(84, kernel_init=kernel_init)
    smaller = [average_pool() if pooling == "average" else max_pool()]
    if original:
        smaller = [subsample(), squash]
    read_out = rbf(outputs) if original else dense(outputs, kernel_init=kernel_init)
    first = [c1, squash, *smaller, c3, squash, *smaller, c5, squash]
    return sequential([*first, flatten(), f6, squash, read_out])


@layer
def resnet(
    width: Count,
    stages: Annotated[int, Ge(1), Le(10)] = 4,
    blocks: Annotated[int, Ge(1), Le(1000)] = 2,
    outputs: Count = 10,
    skip: bool = True,
    kernel_init: InitializerLike = "he_normal",
) -> Layer:
    """Pre-activation ResNet (He et al. 2016) of Nakkiran et al. 2019. `[B, H, W, C] -> [B, outputs]`.

    A 3 x 3 convolution of `width` filters; `stages` of `blocks` blocks, with twice the filters and half the
    side from stage to stage; the mean over places; a dense read-out. A block is batch_norm, relu and a 3 x 3
    convolution, twice, and where filters or side change, the shortcut is a 1 x 1 convolution of what comes
    out of the first relu. With 4 stages of 2 blocks it is ResNet18, standard at width 64. skip: false leaves
    the shortcuts out.
    """

    def convolution(filters: int, size: int, stride: int) -> Layer:
        return conv2d(filters, size, stride=stride, padding="same", use_bias=False, kernel_init=kernel_init)

    def block(filters: int, stride: int, changes: bool) -> list[LayerLike]:
        entry: list[LayerLike] = [batch_norm(), "relu"]
        rest = [convolution(filters, 3, stride), batch_norm(), "relu", convolution(filters, 3, 1)]
        if not skip:
            return entry + rest
        if changes:
            return [*entry, residual(rest, shortcut=[convolution(filters, 1, stride)])]
        return [residual(entry + rest)]

    layers: list[LayerLike] = [convolution(width, 3, 1)]
    for stage in range(stages):
        for number in range(blocks):
            changes = stage > 0 and number == 0
            layers += block(width * 2**stage, 2 if changes else 1, changes)
    return sequential([*layers, global_average_pool(), dense(outputs, kernel_init=kernel_init)])
