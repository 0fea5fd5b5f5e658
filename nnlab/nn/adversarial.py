"""The generative adversarial network, a layer made of two nets whose output is the loss of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nnlab.errors import InvalidValue
from nnlab.nn.combinators import BoundChildren, sequential, setup_child
from nnlab.nn.layer import Layer, LayerLike, Output, Setup, Shape, TrainMode, Tree, layer
from nnlab.registry import Count, NonNegative
from nnlab.system.imports import Array, jax, jnp

BOTH_LOSSES = "sum of the losses of generator and discriminator, nats"


@layer
def gan(
    latent: Count,
    generator: list[LayerLike],
    discriminator: list[LayerLike],
    gradient_penalty: NonNegative = 0.0,
) -> Layer:
    """A generative adversarial network: a generator learns to make what a discriminator takes for examples.

    The generator G makes an example of noise z ~ N(0, 1); the discriminator D gives a logit, high where it
    takes its input for a true example. The output is the sum of their losses; loss: layer_loss.

        of D    log(1 + exp(-D(x))) + log(1 + exp(D(G(z)))) + gamma / 2 |dD/dx|^2
        of G    log(1 + exp(-D(G(z)))), the non-saturating one

    In the loss of D, G is held fixed, and D in that of G, so that one gradient has both, and they step at the
    same time. Where D can tell nothing and is 0 everywhere, the sum is 3 log 2 = 2.08; how good the samples
    are, it does not say. In evaluation it is the same, with noise of a fixed key.

    The parameters lie under `gan_1/generator` and `gan_1/discriminator`, by which `optimizer.groups` can give
    each net its own rate.

    Shape:
        `[B, ...] -> [B, 1]`

    Args:
        latent: The number of values of z.
        generator: The layers of G, from `[B, latent]` to the shape of the inputs.
        discriminator: The layers of D, from inputs to logits `[B, 1]`.
        gradient_penalty: gamma, the weight of the squared slope of D at the true examples (R1).

    Reference:
        Goodfellow et al. 2014, Generative adversarial nets. R1: Mescheder, Geiger & Nowozin 2018, Which
        training methods for GANs do actually converge?
    """
    named = {"generator": sequential(generator), "discriminator": sequential(discriminator)}

    def setup(input_shape: Shape) -> Setup:
        children = {
            "generator": setup_child("generator", named["generator"], (latent,)),
            "discriminator": setup_child("discriminator", named["discriminator"], input_shape),
        }
        _check_shapes(children, input_shape)
        return Setup((1,), children=children, random=True, own_loss=BOTH_LOSSES, sample=sample)

    def apply(params: Tree, state: Tree, x: Array, *, key: Array, train: TrainMode) -> Output:
        noise_key, layers_key = jax.random.split(key)

        def bound(params: Tree) -> BoundChildren:
            return BoundChildren(named, params, state, layers_key, train)

        return _both_losses(bound, params, x, _noise(noise_key, (x.shape[0], latent), x), gradient_penalty)

    def sample(params: Tree, state: Tree, key: Array, count: int) -> Array:
        noise_key, layers_key = jax.random.split(key)
        nets = BoundChildren(named, params, state, layers_key, train=False)
        return nets("generator", _noise(noise_key, (count, latent), jax.tree.leaves(params)[0]))

    return Layer(setup, apply)


def _both_losses(
    bound: Callable[[Tree], BoundChildren], params: Tree, x: Array, z: Array, gradient_penalty: float
) -> Output:
    """The sum of both losses of each example, `[B, 1]`, from which each net gets its own gradient.

    Args:
        bound: Binds the two nets to parameters.
        params: Their parameters.
        x: The true examples.
        z: The noise of as many made ones.
        gradient_penalty: gamma.
    """
    nets, fixed = bound(params), bound(jax.lax.stop_gradient(params))
    made = nets("generator", z)
    of_generator = jax.nn.softplus(-fixed("discriminator", made))
    of_made = jax.nn.softplus(nets("discriminator", jax.lax.stop_gradient(made)))
    of_true = jax.nn.softplus(-nets("discriminator", x))
    losses = of_generator + of_made + of_true
    if gradient_penalty > 0:
        slopes = jax.grad(lambda inputs: bound(params)("discriminator", inputs).sum())(x)
        squares = jnp.square(slopes).reshape(x.shape[0], -1).sum(-1, keepdims=True)
        losses = losses + 0.5 * gradient_penalty * squares
    return nets.output(losses)


def _check_shapes(children: Mapping[str, Setup], input_shape: Shape) -> None:
    """Refuse nets that do not fit the inputs, or each other. Raises InvalidValue."""
    made, told = (children[name].output_shape for name in ("generator", "discriminator"))
    if made != input_shape:
        raise InvalidValue(f"the generator makes {list(made)}, and the inputs are {list(input_shape)}")
    if told != (1,):
        raise InvalidValue(f"the discriminator makes {list(told)}; let it end in {{type: dense, units: 1}}")


def _noise(key: Array, shape: Shape, like: Array) -> Array:
    return jax.random.normal(key, shape, like.dtype)
