"""Well-known architectures, built from the layers."""

from __future__ import annotations

import functools
import math
from typing import Annotated, Literal

from annotated_types import Ge, Le

from nnlab.errors import InvalidValue
from nnlab.nn.activations import elementwise, relu, scaled_tanh, tanh
from nnlab.nn.combinators import residual, sequential
from nnlab.nn.convolution import conv2d
from nnlab.nn.dense import dense
from nnlab.nn.initializers import constant, lecun_uniform
from nnlab.nn.layer import (
    ActivationLike,
    InitializerLike,
    Layer,
    layer,
)
from nnlab.nn.normalization import batch_norm
from nnlab.nn.pooling import average_pool, global_average_pool, max_pool, subsample
from nnlab.nn.rbf import rbf
from nnlab.nn.regularization import dropout
from nnlab.nn.reshaping import flatten
from nnlab.registry import BelowOne, Count

H2 = [[*range(8)]] * 4 + [[*range(4, 12)]] * 4 + [[*range(4), *range(8, 12)]] * 4
"""The maps of H1 that each filter of H2 sees in `lenet1989`."""

C3 = [
    *([first, (first + 1) % 6, (first + 2) % 6] for first in range(6)),
    *([first, (first + 1) % 6, (first + 2) % 6, (first + 3) % 6] for first in range(6)),
    *([first, (first + 1) % 6, (first + 3) % 6, (first + 4) % 6] for first in range(3)),
    [*range(6)],
]
"""The maps of S2 that each filter of C3 sees in `lenet5`: Table I of LeCun et al. 1998."""


@layer
def lenet1989(
    activation: ActivationLike = "tanh",
    squash_outputs: bool = True,
    dropout_rate: BelowOne = 0.0,
    outputs: Count = 10,
) -> Layer:
    """The convolutional network of LeCun et al. 1989, for images of digits.

    H1 and H2 have 12 filters of 5 x 5, stride 2, with a bias for each position; each filter of H2 sees 8 of
    the 12 maps. H3 has 30 units. With 10 outputs there are 9,760 parameters (1,068, 2,592, 5,790, 310).
    Inputs lie in [-1, 1] and are padded with -1. Kernels are uniform in +-2.4 / sqrt(fan_in); biases are 0,
    the output's -1.

    Shape:
        `[B, 16, 16] -> [B, K]`

    Args:
        activation: Follows each hidden layer. The paper's is scaled_tanh.
        squash_outputs: Whether outputs pass through tanh, for the squared error against +-1; else they are
            logits.
        dropout_rate: Of a dropout after H3's activation, in [0, 1).
        outputs: K, the number of outputs.

    Reference:
        LeCun et al. 1989, Backpropagation applied to handwritten zip code recognition, as reproduced in
        karpathy/lecun1989-repro (where the dropout comes before H3). The paper does not say which maps a
        filter sees.
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

    h1, h2 = convolution(None), convolution(H2)
    h3 = dense(30, kernel_init=kernel_init)
    read_out = dense(outputs, kernel_init=kernel_init, bias_init=functools.partial(constant, value=-1.0))
    squash = elementwise(activation)
    return sequential(
        [h1, squash, h2, squash, flatten(), h3, squash]
        + [dropout(dropout_rate)] * (dropout_rate > 0)
        + [read_out]
        + [elementwise(tanh)] * squash_outputs
    )


@layer
def lenet5(
    form: Literal["original", "modern"] = "modern",
    activation: ActivationLike | None = None,
    pooling: Literal["max", "average"] | None = None,
    outputs: Count = 10,
    kernel_init: InitializerLike = "glorot_uniform",
) -> Layer:
    """LeNet-5, the convolutional network of LeCun et al. 1998, for images of digits.

    C1: 6 filters of 5 x 5, padded by 2. S2: pooling. C3: 16 filters of 5 x 5. S4: pooling. C5: 120 filters of
    5 x 5. F6: 84 units. The sides of the maps are 28, 14, 10, 5 and 1.

    Shape:
        `[B, 28, 28] -> [B, K]`

    Args:
        form: `original` has 60,000 parameters (156, 12, 1,516, 32, 48,120, 10,164): S2 and S4 are
            `subsample`, each filter of C3 sees some of the 6 maps, the outputs are `rbf`, without
            parameters, and the activation follows each layer. `modern` has 61,706 with 10 outputs: C3 sees
            all maps and the read-out is dense.
        activation: null is scaled_tanh in the original form, relu in the modern one.
        pooling: Of the modern form; null is max.
        outputs: K, the number of outputs.
        kernel_init: Draws the kernels; the default is that of Keras.

    Reference:
        LeCun et al. 1998, Gradient-based learning applied to document recognition.
    """
    original = form == "original"
    if original and pooling is not None:
        raise InvalidValue("the original form subsamples; leave pooling out", ("pooling",))
    squash = elementwise(activation or (scaled_tanh if original else relu))
    c1 = conv2d(6, 5, padding=2, kernel_init=kernel_init)
    c3 = conv2d(16, 5, connections=C3 if original else None, kernel_init=kernel_init)
    c5 = conv2d(120, 5, kernel_init=kernel_init)
    f6 = dense(84, kernel_init=kernel_init)
    pool = [average_pool() if pooling == "average" else max_pool()]
    if original:
        pool = [subsample(), squash]
    read_out = rbf(outputs) if original else dense(outputs, kernel_init=kernel_init)
    convolutional = [c1, squash, *pool, c3, squash, *pool, c5, squash]
    return sequential([*convolutional, flatten(), f6, squash, read_out])


@layer
def resnet(
    width: Count,
    stages: Annotated[int, Ge(1), Le(10)] = 4,
    blocks: Annotated[int, Ge(1), Le(1000)] = 2,
    outputs: Count = 10,
    skip: bool = True,
    kernel_init: InitializerLike = "he_normal",
) -> Layer:
    """A pre-activation residual network, as in Nakkiran et al. 2019.

    A 3 x 3 convolution of `width` filters; `stages` of `blocks` blocks, with twice the filters and half the
    side from stage to stage; global_average_pool; a dense read-out. A block is batch_norm, relu and a 3 x 3
    convolution, twice; where filters or side change, the shortcut is a 1 x 1 convolution of the output of
    the first relu. With 4 stages of 2 blocks it is ResNet18, whose standard width is 64.

    Shape:
        `[B, H, W, C] -> [B, K]`

    Args:
        width: Filters of the first stage.
        stages: The number of stages, 1 to 10.
        blocks: The number of blocks in each stage, 1 to 1000.
        outputs: K, the number of outputs.
        skip: Whether blocks have shortcuts.
        kernel_init: Draws the kernels; the default is that of He et al. 2015.

    Reference:
        He et al. 2016, Identity mappings in deep residual networks; Nakkiran et al. 2019, Deep double
        descent.
    """

    def convolution(filters: int, size: int, stride: int) -> Layer:
        return conv2d(filters, size, stride=stride, padding="same", use_bias=False, kernel_init=kernel_init)

    def block(filters: int, stride: int, changes: bool) -> list[Layer]:
        entry = [batch_norm(), elementwise(relu)]
        rest = [
            convolution(filters, 3, stride),
            batch_norm(),
            elementwise(relu),
            convolution(filters, 3, 1),
        ]
        if not skip:
            return entry + rest
        if changes:
            return [*entry, residual(rest, shortcut=[convolution(filters, 1, stride)])]
        return [residual(entry + rest)]

    layers = [convolution(width, 3, 1)]
    for stage in range(stages):
        for number in range(blocks):
            changes = stage > 0 and number == 0
            layers += block(width * 2**stage, 2 if changes else 1, changes)
    return sequential([*layers, global_average_pool(), dense(outputs, kernel_init=kernel_init)])
