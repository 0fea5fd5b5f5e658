"""The variational autoencoder, a layer made of two nets whose output is a bound of the likelihood."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

from nnlab.errors import InvalidValue
from nnlab.nn.combinators import BoundChildren, sequential, setup_child
from nnlab.nn.layer import (
    BOUND_OF_LIKELIHOOD,
    InputValues,
    Layer,
    LayerLike,
    Output,
    Setup,
    Shape,
    TrainMode,
    Tree,
    at_least_float32,
    layer,
)
from nnlab.registry import Count, NonNegative
from nnlab.system.imports import Array, jax, jnp

Likelihood = Literal["bernoulli", "gaussian"]
BOUNDS: dict[Likelihood, tuple[str, InputValues]] = {  # what the loss is, and of which inputs
    "bernoulli": (BOUND_OF_LIKELIHOOD, "from 0 to 1"),
    "gaussian": ("bound of the negative log density, nats", "any"),
}


class Code(NamedTuple):
    """What the encoder says of an example: its code is N(mean, exp(log_variance)) in each of U units.

    Attributes:
        mean: `[B, U]`.
        log_variance: `[B, U]`.
    """

    mean: Array
    log_variance: Array

    @property
    def divergence(self) -> Array:
        """KL(q(z|x) || N(0, 1)) of each unit in nats, `[B, U]`."""
        return 0.5 * (jnp.square(self.mean) + jnp.exp(self.log_variance) - 1.0 - self.log_variance)

    def draw(self, key: Array) -> Array:
        """A code of each example, `[B, U]`."""
        noise = jax.random.normal(key, self.mean.shape, self.mean.dtype)
        return self.mean + jnp.exp(0.5 * self.log_variance) * noise


@layer
def vae(
    code: Count,
    encoder: list[LayerLike],
    decoder: list[LayerLike],
    likelihood: Likelihood = "bernoulli",
    beta: NonNegative = 1.0,
) -> Layer:
    """A variational autoencoder: an example becomes a random code, and that the example; loss: layer_loss.

    The encoder gives mean and log variance of the code, q(z|x) = N(mu, sigma^2), the decoder p(x|z). The
    output is the negative evidence lower bound of an example, in nats, at a single code z from q:

        -log p(x|z) + beta KL(q(z|x) || N(0, 1)),  KL = sum_u 1/2 (mu^2 + sigma^2 - 1 - log sigma^2)

    With beta 1 it is, in the mean over z, at least -log p(x). In evaluation it is the same, with a code drawn
    by a fixed key. A sample is the mean of p(x|z) for z ~ N(0, 1). Among the intermediate values are
    `divergences`, the KL of each unit `[B, U]`, and `distortions`, -log p(x|z) `[B]`.

    Shape:
        `[B, ...] -> [B, 1]`

    Args:
        code: U, the number of units of the code.
        encoder: The layers from inputs to `[B, 2 U]`, means first.
        decoder: The layers from `[B, U]` to as many values as an input has.
        likelihood: `bernoulli`, of inputs from 0 to 1 and a decoder of logits; `gaussian`, N(its output, 1).
        beta: The weight of KL; 1 is the bound, 0 an autoencoder whose codes nothing holds together.

    Reference:
        Kingma & Welling 2014, Auto-encoding variational Bayes; beta: Higgins et al. 2017.
    """
    named = {"encoder": sequential(encoder), "decoder": sequential(decoder)}

    def setup(input_shape: Shape) -> Setup:
        children = {
            "encoder": setup_child("encoder", named["encoder"], input_shape),
            "decoder": setup_child("decoder", named["decoder"], (code,)),
        }
        _check_shapes(children, code, input_shape)
        bound, takes = BOUNDS[likelihood]
        own_loss = bound if beta == 1.0 else f"reconstruction and {beta:g} KL, nats"
        return Setup((1,), children=children, random=True, own_loss=own_loss, takes=takes, sample=sample)

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: TrainMode) -> Output:
        code_key, layers_key = jax.random.split(key)
        nets = BoundChildren(named, params, state, layers_key, train)
        said = Code(*jnp.split(nets("encoder", x), 2, axis=-1))
        distortion = _negative_log_likelihood(likelihood, x, nets("decoder", said.draw(code_key)))
        losses = distortion + beta * at_least_float32(said.divergence).sum(-1)
        nets.intermediates["divergences"] = {"": said.divergence}
        nets.intermediates["distortions"] = {"": distortion.astype(x.dtype)}
        return nets.output(losses.astype(x.dtype)[:, None])

    def sample(params: Tree, state: Tree, key: Array, count: int) -> Array:
        code_key, layers_key = jax.random.split(key)
        nets = BoundChildren(named, params, state, layers_key, train=False)
        made = nets("decoder", jax.random.normal(code_key, (count, code), jax.tree.leaves(params)[0].dtype))
        return jax.nn.sigmoid(made) if likelihood == "bernoulli" else made

    return Layer(setup, apply)


def _check_shapes(children: Mapping[str, Setup], code: int, input_shape: Shape) -> None:
    """Refuse nets that do not fit the code or the inputs. Raises InvalidValue."""
    said, made = (children[name].output_shape for name in ("encoder", "decoder"))
    if said != (2 * code,):
        raise InvalidValue(
            f"the encoder makes {list(said)}; let it end in {{type: dense, units: {2 * code}}}"
        )
    if math.prod(made) != math.prod(input_shape):
        raise InvalidValue(f"the decoder makes {list(made)}, and the inputs are {list(input_shape)}")


def _negative_log_likelihood(likelihood: Likelihood, x: Array, made: Array) -> Array:
    """-log p(x|z) of each example in nats, `[B]` float32."""
    values, targets = (at_least_float32(array.reshape(x.shape[0], -1)) for array in (made, x))
    if likelihood == "bernoulli":
        return (jax.nn.softplus(values) - targets * values).sum(-1)
    return 0.5 * (jnp.square(targets - values) + math.log(2.0 * math.pi)).sum(-1)
