"""Embedding, attention and transformer block against PyTorch; causality through gradients; read-out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnlab.errors import InvalidValue
from nnlab.nn.attention import attention, transformer_block
from nnlab.nn.embedding import embedding
from nnlab.nn.model import build_model

BATCH, LENGTH, UNITS, HEADS = 5, 6, 8, 2
KEY = jax.random.key(0)


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def shaken(net, seed=1):
    """First params with biases, scales and shifts away from 0 and 1."""
    params, state = net.init(seed)
    leaves, structure = jax.tree.flatten(params)
    moved = [leaf + 0.2 * drawn(*leaf.shape, seed=9 + i) for i, leaf in enumerate(leaves)]
    return jax.tree.unflatten(structure, moved), state


def applied(net, params, state, x, train=False):
    return net.apply(params, state, jnp.asarray(x), key=KEY, train=train).value


def pulled_back(net, params, state, x, weights):
    """Output, and gradients of sum(weights * output) by params and inputs."""

    def total(params, x):
        value = net.apply(params, state, x, key=KEY, train=True).value
        return (weights * value).sum(), value

    (_, value), gradients = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))(params, x)
    return value, *gradients


def close(found, expected):
    expected = expected.detach().numpy() if hasattr(expected, "detach") else expected
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-5, atol=1e-5)


def tensor(torch, array):
    return torch.tensor(np.array(array))


# --- embedding -------------------------------------------------------------------------------------------


def test_embedding_with_learned_positions_equals_pytorch():
    torch = pytest.importorskip("torch")
    tokens = np.random.default_rng(0).integers(0, 11, (BATCH, LENGTH))
    net = build_model(embedding(11, UNITS, positions="learned"), (LENGTH,))
    params, state = shaken(net)
    weights = drawn(BATCH, LENGTH, UNITS, seed=3)

    def total(params):
        value = applied(net, params, state, tokens.astype(np.float32))
        return (weights * value).sum(), value

    gradients, value = jax.jit(jax.grad(total, has_aux=True))(params)
    table = torch.nn.Embedding.from_pretrained(
        tensor(torch, params["embedding_1"]["embedding"]), freeze=False
    )
    places = tensor(torch, params["embedding_1"]["positions"]).requires_grad_()
    expected = table(torch.tensor(tokens)) + places
    (torch.tensor(weights) * expected).sum().backward()
    close(value, expected)
    close(gradients["embedding_1"]["embedding"], table.weight.grad)
    close(gradients["embedding_1"]["positions"], places.grad)


@pytest.mark.parametrize("units", [8, 7])
def test_sinusoidal_positions_in_closed_form(units):
    net = build_model(embedding(3, units, positions="sinusoidal", embedding_init="zeros"), (LENGTH,))
    params, state = net.init(0)
    assert set(params["embedding_1"]) == {"embedding"}, "they are not learned"
    found = applied(net, params, state, np.zeros((1, LENGTH), np.float32))[0]
    for t in range(LENGTH):
        for i in range(units):
            angle = t / 10_000 ** (i // 2 * 2 / units)
            assert found[t, i] == pytest.approx(np.cos(angle) if i % 2 else np.sin(angle), abs=1e-6)


# --- attention -------------------------------------------------------------------------------------------


def torch_attention(torch, params):
    theirs = torch.nn.MultiheadAttention(UNITS, HEADS, batch_first=True)
    names = ("query", "key", "value")
    theirs.in_proj_weight.data = tensor(torch, np.concatenate([params[n]["kernel"].T for n in names]))
    theirs.in_proj_bias.data = tensor(torch, np.concatenate([params[n]["bias"] for n in names]))
    theirs.out_proj.weight.data = tensor(torch, params["output"]["kernel"].T)
    theirs.out_proj.bias.data = tensor(torch, params["output"]["bias"])
    return theirs


def mask(torch, causal):
    return torch.nn.Transformer.generate_square_subsequent_mask(LENGTH) if causal else None


@pytest.mark.parametrize("causal", [False, True])
def test_attention_equals_pytorch(causal):
    torch = pytest.importorskip("torch")
    net = build_model(attention(HEADS, causal=causal), (LENGTH, UNITS))
    params, state = shaken(net)
    x, weights = drawn(BATCH, LENGTH, UNITS), drawn(BATCH, LENGTH, UNITS, seed=3)
    value, by_params, by_x = pulled_back(net, params, state, x, weights)

    theirs = torch_attention(torch, params["attention_1"])
    z = torch.tensor(x, requires_grad=True)
    expected, _ = theirs(z, z, z, attn_mask=mask(torch, causal), need_weights=False)
    (torch.tensor(weights) * expected).sum().backward()
    close(value, expected)
    close(by_x, z.grad)
    own = by_params["attention_1"]
    close(np.concatenate([own[n]["kernel"].T for n in ("query", "key", "value")]), theirs.in_proj_weight.grad)
    close(np.concatenate([own[n]["bias"] for n in ("query", "key", "value")]), theirs.in_proj_bias.grad)
    close(own["output"]["kernel"].T, theirs.out_proj.weight.grad)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("causal", [False, True])
def test_transformer_block_equals_pytorch(norm, causal, activation):
    torch = pytest.importorskip("torch")
    block = transformer_block(HEADS, hidden=12, activation=activation, norm=norm, causal=causal)
    net = build_model(block, (LENGTH, UNITS))
    params, state = shaken(net)
    x, weights = drawn(BATCH, LENGTH, UNITS), drawn(BATCH, LENGTH, UNITS, seed=3)
    value, by_params, by_x = pulled_back(net, params, state, x, weights)

    theirs = torch.nn.TransformerEncoderLayer(
        UNITS, HEADS, 12, 0.0, activation, norm_first=norm == "pre", batch_first=True
    )
    own = params["transformer_block_1"]
    theirs.self_attn = torch_attention(torch, own["attention"])
    for place, name in ((theirs.norm1, "attention_norm"), (theirs.norm2, "mlp_norm")):
        place.weight.data, place.bias.data = (tensor(torch, own[name][n]) for n in ("scale", "shift"))
    for place, name in ((theirs.linear1, "dense_1"), (theirs.linear2, "dense_2")):
        place.weight.data = tensor(torch, own["mlp"][name]["kernel"].T)
        place.bias.data = tensor(torch, own["mlp"][name]["bias"])
    z = torch.tensor(x, requires_grad=True)
    expected = theirs(z, src_mask=mask(torch, causal), is_causal=causal)
    (torch.tensor(weights) * expected).sum().backward()
    close(value, expected)
    close(by_x, z.grad)
    slopes = by_params["transformer_block_1"]
    close(slopes["mlp"]["dense_1"]["kernel"].T, theirs.linear1.weight.grad)
    close(slopes["attention_norm"]["scale"], theirs.norm1.weight.grad)
    close(slopes["mlp_norm"]["shift"], theirs.norm2.bias.grad)
    close(slopes["attention"]["query"]["kernel"].T, theirs.self_attn.in_proj_weight.grad[:UNITS])


def test_a_block_without_norm_adds_what_its_parts_compute():
    net = build_model(transformer_block(HEADS, norm="none", use_bias=False), (LENGTH, UNITS))
    params, state = shaken(net)
    assert net.setup.count("params") == 12 * UNITS**2
    x = drawn(BATCH, LENGTH, UNITS)
    inside = net.apply(params, state, jnp.asarray(x), key=KEY, train=True).intermediates["outputs"]
    parts = (inside[f"transformer_block_1/{name}"] for name in ("attention", "mlp"))
    close(applied(net, params, state, x), x + sum(np.asarray(part) for part in parts))


# --- causality, read-out, dropout ------------------------------------------------------------------------

MAKERS = {
    "attention": attention,
    "pre": lambda heads, **given: transformer_block(heads, norm="pre", **given),
    "post": lambda heads, **given: transformer_block(heads, norm="post", **given),
    "none": lambda heads, **given: transformer_block(heads, norm="none", **given),
}
makers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@makers
@pytest.mark.parametrize("causal", [False, True])
def test_a_position_hears_the_later_ones_only_where_it_may(make, causal):
    net = build_model(make(HEADS, causal=causal), (LENGTH, UNITS))
    params, state = shaken(net)
    x = jnp.asarray(drawn(1, LENGTH, UNITS))
    jacobian = jax.jit(jax.jacobian(lambda x: applied(net, params, state, x)[0].sum(-1)))(x)
    heard = np.abs(np.asarray(jacobian)[:, 0]).max(-1) > 0  # [position, position that it hears]
    np.testing.assert_array_equal(heard, np.tri(LENGTH, dtype=bool) if causal else np.ones((LENGTH,) * 2))


@makers
@pytest.mark.parametrize("causal", [False, True])
def test_what_is_read_out_equals_that_position_of_all(make, causal):
    """Output and gradients; the same weights serve both."""
    whole = build_model(make(HEADS, causal=causal), (LENGTH, UNITS))
    params, state = shaken(whole)
    x, weights = drawn(BATCH, LENGTH, UNITS), drawn(BATCH, UNITS, seed=3)

    def outputs_and_gradients(net, position):
        def total(params, x, read):
            outputs = position(applied(net, params, state, x), read)
            return (weights * outputs).sum(), outputs

        return jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))

    of_all = outputs_and_gradients(whole, lambda y, read: y[:, read])
    for read in (-1, 0, 2, -LENGTH):
        one = build_model(make(HEADS, causal=causal, read=read), (LENGTH, UNITS))
        (_, found), gradients = outputs_and_gradients(one, lambda y, _: y)(params, x, read)
        (_, expected), expected_gradients = of_all(params, x, read)
        close(found, expected)
        jax.tree.map(close, gradients, expected_gradients)


@makers
def test_what_is_read_out_costs_less(make):
    """Fewer operations in the compiled program, not only a smaller output."""

    def operations(read):
        net = build_model(make(HEADS, causal=True, read=read), (LENGTH, UNITS))
        params, state = net.init(0)
        compiled = jax.jit(lambda x: applied(net, params, state, x)).lower(drawn(BATCH, LENGTH, UNITS))
        return compiled.compile().cost_analysis()["flops"]

    assert operations(-1) < 0.75 * operations(None)
    assert operations(0) < 0.8 * operations(-1), "a causal one does not hear the later positions"


def test_dropout_drops_in_training_only():
    net = build_model(transformer_block(HEADS, dropout_rate=0.5), (LENGTH, UNITS))
    params, state = shaken(net)
    plain = build_model(transformer_block(HEADS), (LENGTH, UNITS))
    x = drawn(BATCH, LENGTH, UNITS)
    close(applied(net, params, state, x), applied(plain, params, state, x))
    inside = net.apply(params, state, jnp.asarray(x), key=KEY, train=True).intermediates["outputs"]
    for name in ("attention_dropout", "mlp/dropout_1"):
        dropped = np.asarray(inside[f"transformer_block_1/{name}"]) == 0
        assert 0.3 < dropped.mean() < 0.7


@pytest.mark.parametrize(
    ("layer", "shape", "said"),
    [
        (attention(3), (LENGTH, UNITS), "3 heads must divide the 8 features"),
        (attention(2), (UNITS,), r"attention takes sequences of vectors, \[T, D\], not \[8\]"),
        (attention(2, read=6), (LENGTH, UNITS), "read: 6 is no position of a sequence of 6"),
        (transformer_block(2, read=-7), (LENGTH, UNITS), "read: -7 is no position of a sequence of 6"),
        (transformer_block(2), (UNITS,), "transformer_block takes sequences"),
        (embedding(5, 4), (LENGTH, UNITS), "embedding takes a sequence of tokens"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(layer, shape, said):
    with pytest.raises(InvalidValue, match=said):
        build_model(layer, shape)
