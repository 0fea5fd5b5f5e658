"""Layers against their declared shapes, closed forms and PyTorch."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import KEY, SEED, close, drawn, from_config, pulled_back

from nnlab.errors import InvalidValue
from nnlab.nn.combinators import mlp, repeat, residual, sequential
from nnlab.nn.convolution import conv1d, conv2d
from nnlab.nn.dense import dense
from nnlab.nn.embedding import embedding
from nnlab.nn.model import build_model
from nnlab.nn.normalization import batch_norm, group_norm, layer_norm
from nnlab.nn.pooling import max_pool, max_pool1d
from nnlab.nn.recurrent import bidirectional, gru, lstm
from nnlab.nn.regularization import dropout
from nnlab.nn.reshaping import flatten, reshape
from nnlab.registry import components
from nnlab.system.random import generator

BATCH = 6

DENSE = {"type": "dense", "units": 5}
SCALED_DENSE = {"type": "scaled_dense", "units": 5}
KEEPS_SHAPE = [(4,), (3, 4)]

# layer -> [(config, input shape, output shape)]; every registered layer must be here
CASES = {
    "dense": [
        (DENSE, (4,), (5,)),
        (DENSE, (3, 4), (3, 5)),
        ({**DENSE, "use_bias": False, "kernel_init": "orthogonal"}, (4,), (5,)),
    ],
    "scaled_dense": [
        (SCALED_DENSE, (4,), (5,)),
        (SCALED_DENSE | {"use_bias": False, "parametrization": "mean_field"}, (4,), (5,)),
    ],
    "centred": [({"type": "centred", "layers": [DENSE, "tanh", DENSE]}, (4,), (5,))],
    "tied_dense": [({"type": "tied_dense", "units": 2}, (4,), (4,))],
    "flatten": [("flatten", (3, 4), (12,)), ("flatten", (4,), (4,)), ("flatten", (2, 3, 4), (24,))],
    "dropout": [({"type": "dropout", "rate": 0.3}, shape, shape) for shape in KEEPS_SHAPE],
    "sequential": [
        ([DENSE, "relu", DENSE], (4,), (5,)),
        ({"type": "sequential", "layers": ["flatten", DENSE]}, (3, 4), (5,)),
        ([], (4,), (4,)),
    ],
    "repeat": [({"type": "repeat", "times": 3, "layers": [DENSE, "tanh"]}, (4,), (5,))],
    "residual": [
        ({"type": "residual", "layers": [{"type": "dense", "units": 4}, "batch_norm", "relu"]}, (4,), (4,)),
        ({"type": "residual", "layers": [{"type": "residual", "layers": ["layer_norm"]}]}, (3, 4), (3, 4)),
        (
            {
                "type": "residual",
                "layers": [DENSE, {"type": "dropout", "rate": 0.5}, "batch_norm"],
                "shortcut": [DENSE, "batch_norm", "tanh"],
            },
            (4,),
            (5,),
        ),
    ],
    "mlp": [
        ({"type": "mlp", "width": 7, "depth": 2, "outputs": 3}, (4,), (3,)),
        ({"type": "mlp", "width": 7, "depth": 0}, (4,), (10,)),
    ],
    "batch_norm": [("batch_norm", shape, shape) for shape in KEEPS_SHAPE],
    "layer_norm": [("layer_norm", shape, shape) for shape in KEEPS_SHAPE],
    "group_norm": [
        ({"type": "group_norm", "groups": groups}, shape, shape)
        for groups in (1, 2, 4)
        for shape in [*KEEPS_SHAPE, (2, 3, 4)]
        if shape != (groups,)
    ],
    "legendre": [
        ({"type": "legendre", "degree": 6}, (1,), (6,)),
        ({"type": "legendre", "degree": 6, "constant": True}, (1,), (7,)),
        ({"type": "legendre", "degree": 1}, (1,), (1,)),
    ],
    "random_fourier": [
        ({"type": "random_fourier", "units": 7}, (4,), (7,)),
        ({"type": "random_fourier", "units": 3, "scale": 0.5}, (1,), (3,)),
    ],
    "embedding": [
        ({"type": "embedding", "vocabulary": 9, "units": 4, "positions": positions}, (3,), (3, 4))
        for positions in ("none", "learned", "sinusoidal")
    ],
    "attention": [
        ({"type": "attention", "heads": 2, "causal": causal, "read": read}, (3, 4), shape)
        for causal in (True, False)
        for read, shape in ((None, (3, 4)), (-1, (4,)), (1, (4,)))
    ],
    "transformer_block": [
        (
            {"type": "transformer_block", "heads": 2, "norm": norm, "read": read, "dropout_rate": rate},
            (3, 4),
            (3, 4) if read is None else (4,),
        )
        for norm in ("pre", "post", "none")
        for read, rate in ((None, 0.0), (0, 0.5))
    ],
    **{
        name: [
            ({"type": name, "units": 5, "read": read}, shape, (5,) if read is not None else (3, 5))
            for shape, read in (((3, 4), -1), ((3, 4), None), ((3,), 1))
        ]
        for name in ("simple_rnn", "lstm", "gru")
    },
    "bidirectional": [
        ({"type": "bidirectional", "layer": {"type": "gru", "units": 5, "read": read}}, (3, 4), shape)
        for read, shape in ((-1, (10,)), (None, (3, 10)))
    ],
    "conv1d": [
        ({"type": "conv1d", "filters": 4, "size": 3}, (8,), (6, 4)),
        ({"type": "conv1d", "filters": 4, "size": 3, "stride": 2, "padding": "same"}, (7, 2), (4, 4)),
        ({"type": "conv1d", "filters": 4, "size": 3, "dilation": 2, "groups": 2}, (7, 2), (3, 4)),
    ],
    "conv2d": [
        ({"type": "conv2d", "filters": 4, "size": 3}, (8, 6), (6, 4, 4)),
        ({"type": "conv2d", "filters": 4, "size": [3, 1], "stride": [2, 1]}, (7, 2, 3), (3, 2, 4)),
        ({"type": "conv2d", "filters": 2, "size": 3, "padding": [1, 0], "stride": 2}, (4, 4, 3), (2, 2, 2)),
        ({"type": "conv2d", "filters": 2, "size": 2, "connections": [[0, 2], [1]]}, (3, 3, 3), (2, 2, 2)),
        ({"type": "conv2d", "filters": 2, "size": 2, "untied_bias": True}, (3, 3), (2, 2, 2)),
        ({"type": "conv2d", "filters": 2, "size": 2, "use_bias": False, "padding": 1}, (3, 3), (4, 4, 2)),
    ],
    **{
        name: [
            (name, (4, 6), (2, 3)),
            ({"type": name, "size": 3, "stride": 2, "padding": "same"}, (4, 5, 3), (2, 3, 3)),
        ]
        for name in ("max_pool", "average_pool")
    },
    **{
        name: [(name, (6,), (3,)), ({"type": name, "size": 3, "stride": 1}, (6, 2), (4, 2))]
        for name in ("max_pool1d", "average_pool1d")
    },
    "median_pool": [
        ("median_pool", (6, 9), (2, 3)),
        ({"type": "median_pool", "size": 2, "stride": 1, "padding": "same"}, (4, 5, 3), (4, 5, 3)),
    ],
    "median_pool1d": [
        ("median_pool1d", (6,), (2,)),
        ({"type": "median_pool1d", "size": 2, "stride": 1}, (6, 2), (5, 2)),
    ],
    "subsample": [("subsample", (4, 6), (2, 3)), ({"type": "subsample", "size": 3}, (6, 3, 2), (2, 1, 2))],
    **{
        name: [(name, (3, 4), (4,)), (name, (2, 3, 4), (4,))]
        for name in ("global_average_pool", "global_max_pool")
    },
    "upsample": [("upsample", (2, 3), (4, 6)), ({"type": "upsample", "factor": 3}, (2, 1, 4), (6, 3, 4))],
    "reshape": [({"type": "reshape", "shape": [2, 3, 1]}, (6,), (2, 3, 1))],
    "rbm": [
        ({"type": "rbm", "hidden": hidden, "gibbs_steps": steps}, (visible,), (1,))
        for visible, hidden, steps in ((4, 3, 1), (3, 4, 2), (18, 17, 1))
    ],
    "vae": [
        (
            {
                "type": "vae",
                "code": 3,
                "encoder": [DENSE, "relu", {"type": "dense", "units": 6}],
                "decoder": [DENSE, {"type": "dense", "units": 4}],
                "likelihood": likelihood,
                "beta": beta,
            },
            (4,),
            (1,),
        )
        for likelihood, beta in (("bernoulli", 1.0), ("gaussian", 0.5))
    ],
    "gan": [
        (
            {
                "type": "gan",
                "latent": 3,
                "generator": [DENSE, "relu", {"type": "dense", "units": 4}],
                "discriminator": [DENSE, {"type": "dropout", "rate": 0.5}, {"type": "dense", "units": 1}],
                "gradient_penalty": penalty,
            },
            (4,),
            (1,),
        )
        for penalty in (0.0, 0.3)
    ],
    "rbf": [({"type": "rbf", "units": 3}, (4,), (3,))],
    "lenet1989": [
        ("lenet1989", (16, 16), (10,)),
        ({"type": "lenet1989", "dropout_rate": 0.25, "squash_outputs": False}, (16, 16, 1), (10,)),
    ],
    "lenet5": [
        ("lenet5", (28, 28), (10,)),
        ({"type": "lenet5", "pooling": "average", "activation": "tanh", "outputs": 3}, (28, 28), (3,)),
        ({"type": "lenet5", "form": "original"}, (28, 28, 1), (10,)),
    ],
    "resnet": [
        ({"type": "resnet", "width": 2, "blocks": 1, "skip": skip}, (8, 8, 3), (10,))
        for skip in (True, False)
    ],
    **{name: [(name, shape, shape) for shape in KEEPS_SHAPE] for name in components("activation")},
}


def kernel_of(path, *names):
    for name in names:
        path = path[name]
    return np.asarray(path["kernel"])


def shapes_of(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), tree)


def declared(tree):
    """A tree of Variables as the shapes and dtype that they must be drawn in."""
    return {
        name: declared(entry) if isinstance(entry, dict) else (entry.shape, "float32")
        for name, entry in tree.items()
    }


@pytest.mark.parametrize("name", components("layer"))
def test_every_layer_has_cases(name):
    assert name in CASES, f"give the layer '{name}' a case in CASES"
    kinds = [config["type"] if isinstance(config, dict) else config for config, _, _ in CASES[name]]
    assert all(kind == name or (name == "sequential" and isinstance(kind, list)) for kind in kinds)


every_case = pytest.mark.parametrize(
    ("config", "input_shape", "output_shape"),
    [case for cases in CASES.values() for case in cases],
    ids=[f"{name}-{i}" for name, cases in CASES.items() for i in range(len(cases))],
)


@pytest.mark.parametrize("train", [True, False])
@every_case
def test_setup_tells_what_apply_does(config, input_shape, output_shape, train):
    net = build_model(from_config(config), input_shape)
    assert net.setup.output_shape == output_shape
    params, state = net.init(SEED)
    assert shapes_of(params) == declared(net.setup.variables("params"))
    assert shapes_of(state) == declared(net.setup.variables("state"))
    assert net.setup.count("params") == sum(leaf.size for leaf in jax.tree.leaves(params))
    assert net.setup.count("state") == sum(leaf.size for leaf in jax.tree.leaves(state))

    x = jax.ShapeDtypeStruct((BATCH, *input_shape), jnp.float32)
    out = jax.eval_shape(lambda p, s, x: net.apply(p, s, x, key=KEY, train=train), params, state, x)
    assert (out.value.shape, out.value.dtype) == ((BATCH, *output_shape), jnp.float32)
    assert shapes_of(out.state) == shapes_of(state)
    outputs = {path: (BATCH, *leaf.output_shape) for path, leaf in net.setup.leaves()}
    assert {path: out.intermediates["outputs"][path].shape for path in outputs} == outputs
    inputs = {path: z.shape for path, z in out.intermediates.get("inputs", {}).items()}
    assert inputs == {path: outputs[path] for path, leaf in net.setup.leaves() if leaf.activation}


# --- in bfloat16 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("train", [True, False])
@every_case
def test_a_layer_computes_in_the_type_of_its_inputs(config, input_shape, output_shape, train):
    net = build_model(from_config(config), input_shape)
    params, state = net.init(SEED)
    narrow = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16), params)
    tokens = any(leaf.vocabulary is not None for _, leaf in net.setup.leaves())
    x = jax.ShapeDtypeStruct((BATCH, *input_shape), jnp.float32 if tokens else jnp.bfloat16)
    with jax.numpy_dtype_promotion("standard"):  # jax.nn's attention needs it
        out = jax.eval_shape(lambda p, s, x: net.layer.apply(p, s, x, key=KEY, train=train), narrow, state, x)
    values = jax.tree.leaves((out.value, out.intermediates))
    assert {value.dtype for value in values} == {jnp.dtype(jnp.bfloat16)}
    assert shapes_of(out.state) == shapes_of(state)


def test_a_model_in_bfloat16_is_that_of_rounded_weights_and_inputs():
    layers = [conv1d(3, 2, use_bias=False), batch_norm(), flatten(), dense(4), layer_norm(), dense(2)]
    full, half = (build_model(sequential(layers), (6,), compute) for compute in ("float32", "bfloat16"))
    params, state = full.init(SEED)
    x = drawn((40, 6), 1, 2.0, 5.0)
    exact, exact_gradients, _ = pulled_back(full, params, state, x)
    out, gradients, _ = pulled_back(half, params, state, x)
    assert {leaf.dtype for leaf in jax.tree.leaves((out, gradients))} == {jnp.dtype(jnp.float32)}
    for found, expected in zip(*map(jax.tree.leaves, (gradients[0], exact_gradients[0])), strict=True):
        scale = np.abs(expected).max()
        assert 0 < np.abs(found - expected).max() <= 0.05 * scale + 0.02
    assert 1e-4 < np.abs(out.value - exact.value).max() < 0.1


def test_running_statistics_are_not_rounded_to_bfloat16():
    net = build_model(batch_norm(momentum=0.0), (4,), "bfloat16")
    params, state = net.init(SEED)
    x = drawn((200, 4), 3, 2.0, 5.0)
    out = net.apply(params, state, jnp.asarray(x), key=KEY, train=True)
    rounded = np.asarray(jnp.asarray(x).astype(jnp.bfloat16).astype(jnp.float32), np.float64)
    close(out.state["batch_norm_1"]["mean"], rounded.mean(0))
    close(out.state["batch_norm_1"]["variance"], rounded.var(0))


def test_tokens_beyond_256_are_told_apart_in_bfloat16():
    net = build_model(embedding(400, 3), (2,), "bfloat16")
    params, state = net.init(SEED)
    tokens = np.array([[257, 258], [398, 399]], np.float32)
    out = net.apply(params, state, jnp.asarray(tokens), key=KEY, train=False)
    np.testing.assert_allclose(out.value, params["embedding_1"]["embedding"][tokens.astype(int)], rtol=2**-8)


# --- against PyTorch -------------------------------------------------------------------------------------


def test_dense_equals_pytorch():
    torch = pytest.importorskip("torch")
    net = build_model(dense(5, bias_init="normal"), (4,))
    params, state = net.init(SEED)
    x = drawn((BATCH, 4))
    out, (by_params, by_x), weights = pulled_back(net, params, state, x)

    theirs = torch.nn.Linear(4, 5)
    theirs.weight.data = torch.tensor(kernel_of(params, "dense_1").T.copy())
    theirs.bias.data = torch.tensor(np.asarray(params["dense_1"]["bias"]))
    z = torch.tensor(x, requires_grad=True)
    y = theirs(z)
    (y * torch.tensor(weights)).sum().backward()
    close(out.value, y)
    close(by_params["dense_1"]["kernel"].T, theirs.weight.grad)
    close(by_params["dense_1"]["bias"], theirs.bias.grad)
    close(by_x, z.grad)


def normalized_params(net, features):
    """First params with scale and shift away from 1 and 0."""
    params, state = net.init(SEED)
    (name,) = params
    return {
        name: {
            "scale": jnp.asarray(drawn(features, 1, 0.3, 1.0)),
            "shift": jnp.asarray(drawn(features, 2)),
        }
    }, state


@pytest.mark.parametrize("shape", [(4,), (3, 4)])
def test_batch_norm_in_training_equals_pytorch(shape):
    torch = pytest.importorskip("torch")
    net = build_model(batch_norm(), shape)
    params, state = normalized_params(net, shape[-1:])
    x = drawn((BATCH, *shape), 3, 2.0, 5.0)
    out, (by_params, by_x), weights = pulled_back(net, params, state, x)

    theirs = torch.nn.BatchNorm1d(4, eps=1e-3, momentum=0.01)
    theirs.weight.data = torch.tensor(np.asarray(params["batch_norm_1"]["scale"]))
    theirs.bias.data = torch.tensor(np.asarray(params["batch_norm_1"]["shift"]))
    z = torch.tensor(x, requires_grad=True)
    y = theirs(z.reshape(-1, 4)).reshape(z.shape)
    (y * torch.tensor(weights)).sum().backward()
    close(out.value, y)
    close(by_params["batch_norm_1"]["scale"], theirs.weight.grad)
    close(by_params["batch_norm_1"]["shift"], theirs.bias.grad)
    close(by_x, z.grad)
    found, values = out.state["batch_norm_1"], x.size // 4
    close(found["mean"], theirs.running_mean)
    biased = 0.99 + (theirs.running_var - 0.99) * (values - 1) / values  # theirs averages the unbiased one
    close(found["variance"], biased)
    assert np.abs(found["variance"] - theirs.running_var.numpy()).max() > 1e-3


@pytest.mark.parametrize("shape", [(4,), (3, 4)])
def test_batch_norm_in_evaluation_equals_pytorch(shape):
    torch = pytest.importorskip("torch")
    net = build_model(batch_norm(), shape)
    params, _ = normalized_params(net, shape[-1:])
    mean, variance = drawn(4, 4), np.square(drawn(4, 5))
    state = {"batch_norm_1": {"mean": jnp.asarray(mean), "variance": jnp.asarray(variance)}}
    x = drawn((BATCH, *shape), 3, 2.0, 5.0)
    out, (by_params, by_x), weights = pulled_back(net, params, state, x, train=False)

    scale, shift = (
        torch.tensor(np.asarray(params["batch_norm_1"][name]), requires_grad=True)
        for name in ("scale", "shift")
    )
    z = torch.tensor(x, requires_grad=True)
    rows = z.reshape(-1, 4)
    running = (torch.tensor(mean), torch.tensor(variance))
    y = torch.nn.functional.batch_norm(rows, *running, scale, shift, eps=1e-3).reshape(z.shape)
    (y * torch.tensor(weights)).sum().backward()
    close(out.value, y)
    close(by_params["batch_norm_1"]["scale"], scale.grad)
    close(by_params["batch_norm_1"]["shift"], shift.grad)
    close(by_x, z.grad)


def test_batch_norm_standardizes_in_training():
    net = build_model(batch_norm(), (4,))
    params, state = net.init(SEED)
    x = jnp.asarray(drawn((200, 4), 3, 20.0, 5.0))
    y = np.asarray(net.apply(params, state, x, key=KEY, train=True).value, np.float64)
    np.testing.assert_allclose(y.mean(0), 0.0, atol=1e-3)
    np.testing.assert_allclose(y.std(0), 1.0, atol=1e-3)


@pytest.mark.parametrize(("momentum", "shape"), [(0.99, (4,)), (0.5, (4,)), (0.9, (3, 4))])
def test_batch_norm_running_statistics_after_three_steps(momentum, shape):
    net = build_model(batch_norm(momentum=momentum), shape)
    params, state = net.init(SEED)
    mean, variance = np.zeros(4), np.ones(4)
    for step in range(3):
        x = drawn((BATCH, *shape), step, 2.0, step)
        state = net.apply(params, state, jnp.asarray(x), key=KEY, train=True).state
        rows = x.reshape(-1, 4).astype(np.float64)
        mean = momentum * mean + (1 - momentum) * rows.mean(0)
        variance = momentum * variance + (1 - momentum) * rows.var(0)
    close(state["batch_norm_1"]["mean"], mean)
    close(state["batch_norm_1"]["variance"], variance)

    x = drawn((BATCH, *shape), 9)
    out = net.apply(params, state, jnp.asarray(x), key=KEY, train=False)
    close(out.value, (x - mean) / np.sqrt(variance + 1e-3))
    jax.tree.map(np.testing.assert_array_equal, out.state, state)


def test_batch_norm_in_evaluation_ignores_batch_mates_and_in_training_does_not():
    net = build_model(batch_norm(), (4,))
    params, state = normalized_params(net, (4,))
    first, others = drawn((1, 4)), drawn((BATCH, 4), 1, 50.0)
    together = jnp.asarray(np.concatenate([first, others]))

    def apply(x, train):
        return np.asarray(net.apply(params, state, jnp.asarray(x), key=KEY, train=train).value)[0]

    np.testing.assert_array_equal(apply(together, False), apply(first, False))
    assert np.abs(apply(together, True) - apply(first, True)).max() > 0.1


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("shape", [(4,), (3, 4)])
def test_layer_norm_equals_pytorch(shape, train):
    torch = pytest.importorskip("torch")
    net = build_model(layer_norm(), shape)
    params, state = normalized_params(net, shape[-1:])
    x = drawn((BATCH, *shape), 3, 2.0, 5.0)
    out, (by_params, by_x), weights = pulled_back(net, params, state, x, train)

    theirs = torch.nn.LayerNorm(4)
    theirs.weight.data = torch.tensor(np.asarray(params["layer_norm_1"]["scale"]))
    theirs.bias.data = torch.tensor(np.asarray(params["layer_norm_1"]["shift"]))
    z = torch.tensor(x, requires_grad=True)
    y = theirs(z)
    (y * torch.tensor(weights)).sum().backward()
    close(out.value, y)
    close(by_params["layer_norm_1"]["scale"], theirs.weight.grad)
    close(by_params["layer_norm_1"]["shift"], theirs.bias.grad)
    close(by_x, z.grad, 2e-5)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("groups", [1, 2, 3, 4])  # of two values the variance may be next to nothing
@pytest.mark.parametrize("shape", [(12,), (5, 12), (2, 3, 12)])
def test_group_norm_equals_pytorch(shape, groups, train):
    torch = pytest.importorskip("torch")
    net = build_model(group_norm(groups), shape)
    params, state = normalized_params(net, shape[-1:])
    x = drawn((BATCH, *shape), 3, 2.0, 5.0)
    out, (by_params, by_x), weights = pulled_back(net, params, state, x, train)

    theirs = torch.nn.GroupNorm(groups, 12)
    theirs.weight.data = torch.tensor(np.asarray(params["group_norm_1"]["scale"]))
    theirs.bias.data = torch.tensor(np.asarray(params["group_norm_1"]["shift"]))
    z = torch.tensor(x, requires_grad=True)
    y = theirs(z.movedim(-1, 1)).movedim(1, -1)
    (y * torch.tensor(weights)).sum().backward()
    close(out.value, y)
    close(by_params["group_norm_1"]["scale"], theirs.weight.grad)
    close(by_params["group_norm_1"]["shift"], theirs.bias.grad)
    close(by_x, z.grad)


def test_residual_equals_pytorch():
    torch = pytest.importorskip("torch")
    net = build_model(sequential([residual([dense(4), "tanh", dense(4)]), dense(3)]), (4,))
    params, state = net.init(SEED)
    x = drawn((BATCH, 4))
    out, (by_params, by_x), weights = pulled_back(net, params, state, x)

    z = torch.tensor(x, requires_grad=True)
    w1, w2, w3 = (
        torch.tensor(kernel, requires_grad=True)
        for kernel in (
            kernel_of(params, "residual_1", "dense_1"),
            kernel_of(params, "residual_1", "dense_2"),
            kernel_of(params, "dense_1"),
        )
    )
    y = (z + torch.tanh(z @ w1) @ w2) @ w3
    (y * torch.tensor(weights)).sum().backward()
    close(out.value, y)
    close(by_params["residual_1"]["dense_1"]["kernel"], w1.grad)
    close(by_params["residual_1"]["dense_2"]["kernel"], w2.grad)
    close(by_params["dense_1"]["kernel"], w3.grad)
    close(by_x, z.grad)


def test_a_shortcut_takes_the_place_of_the_identity():
    """Value, state and random keys: branch and shortcut drop different units."""
    part = [dense(50, kernel_init={"type": "constant", "value": 1.0}), dropout(0.5)]
    net = build_model(residual([*part, batch_norm()], shortcut=part), (1,))
    params, state = net.init(SEED)
    assert set(params["residual_1"]) == {"dense_1", "batch_norm_1", "shortcut"}
    out = jax.jit(lambda x: net.apply(params, state, x, key=KEY, train=True))(jnp.ones((20, 1)))
    assert shapes_of(out.state) == shapes_of(state)
    inside = {path.removeprefix("residual_1/"): value for path, value in out.intermediates["outputs"].items()}
    close(out.value, inside["batch_norm_1"] + inside["shortcut/dropout_1"])
    same = (np.asarray(inside["dropout_1"]) > 0) == (np.asarray(inside["shortcut/dropout_1"]) > 0)
    assert 0.4 < same.mean() < 0.6


def test_residual_of_zero_kernels_has_the_identity_as_jacobian():
    net = build_model(residual([dense(4), "relu", dense(4, kernel_init="zeros")]), (4,))
    params, state = net.init(SEED)

    def forward(x):
        return net.apply(params, state, x[None], key=KEY, train=True).value[0]

    x = jnp.asarray(drawn(4))
    np.testing.assert_array_equal(forward(x), x)
    np.testing.assert_array_equal(jax.jacobian(forward)(x), np.eye(4))


# --- dropout ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.9])
def test_dropout_keeps_the_expectation(rate):
    net = build_model(dropout(rate), (5,))
    x = np.tile(np.array([1.0, -2.0, 0.5, 100.0, 3.0], np.float32), (400_000, 1))
    out = np.asarray(net.apply({}, {}, jnp.asarray(x), key=KEY, train=True).value)
    evaluated = np.asarray(net.apply({}, {}, jnp.asarray(x), key=KEY, train=False).value)
    np.testing.assert_array_equal(evaluated, x)
    np.testing.assert_allclose(out.mean(0, dtype=np.float64), x[0], rtol=0.01)
    np.testing.assert_allclose((out == 0).mean(0), rate, atol=0.005)
    np.testing.assert_allclose(out[out != 0], (x / np.float32(1 - rate))[out != 0], rtol=1e-6)


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_dropout_over_many_keys_is_its_evaluation(rate):
    net = build_model(dropout(rate), (3,))
    x = jnp.array([[1.0, -2.0, 100.0]])

    def apply(key):
        return net.apply({}, {}, x, key=key, train=True).value

    means = jax.vmap(apply)(jax.random.split(KEY, 400_000)).mean(0)
    np.testing.assert_allclose(means, net.apply({}, {}, x, key=KEY, train=False).value, rtol=0.01)


def test_dropout_of_rate_zero_changes_nothing():
    net = build_model(dropout(0.0), (5,))
    x = drawn((1000, 5))
    np.testing.assert_array_equal(net.apply({}, {}, jnp.asarray(x), key=KEY, train=True).value, x)


def test_dropout_follows_its_key_and_its_place():
    net = build_model(sequential([dropout(0.5), dropout(0.5)]), (50,))
    x = jnp.ones((20, 50))

    def apply(seed):
        out = net.apply({}, {}, x, key=jax.random.key(seed), train=True)
        return {path: np.asarray(value) for path, value in out.intermediates["outputs"].items()}

    np.testing.assert_array_equal(apply(0)["dropout_1"], apply(0)["dropout_1"])
    assert (apply(0)["dropout_1"] != apply(1)["dropout_1"]).any()
    both = apply(0)
    kept_by_first = both["dropout_1"] > 0
    share = (both["dropout_2"][kept_by_first] > 0).mean()  # one mask twice would keep all of them
    assert 0.35 < share < 0.65


# --- names and numbers -----------------------------------------------------------------------------------


def test_names_of_nested_layers():
    inner = residual([dense(4), "relu", residual([dense(4)]), dense(4)])
    chain = sequential(
        [
            dense(4),
            "tanh",
            inner,
            repeat(2, [dense(4), "tanh"]),
            residual([batch_norm()]),
            mlp(6, 2, activation={"type": "leaky_relu", "negative_slope": 0.1}, outputs=3),
        ]
    )
    net = build_model(chain, (4,))
    paths = [path for path, _ in net.setup.leaves()]
    assert paths == [
        "dense_1",
        "tanh_1",
        "residual_1/dense_1",
        "residual_1/relu_1",
        "residual_1/residual_1/dense_1",
        "residual_1/dense_2",
        "dense_2",
        "tanh_2",
        "dense_3",
        "tanh_3",
        "residual_2/batch_norm_1",
        "dense_4",
        "leaky_relu_1",
        "dense_5",
        "leaky_relu_2",
        "dense_6",
    ]
    params, _ = net.init(SEED)
    assert set(params) == {"residual_1", "residual_2", *(f"dense_{i}" for i in range(1, 7))}
    assert set(params["residual_1"]) == {"dense_1", "dense_2", "residual_1"}
    types = {path: leaf.type for path, leaf in net.setup.leaves()}
    assert all(path.rsplit("/", 1)[-1].rsplit("_", 1)[0] == name for path, name in types.items())


@pytest.mark.parametrize(
    ("inputs", "width", "depth", "outputs"), [(40, 44, 2, 10), (3, 7, 1, 1), (5, 8, 6, 2)]
)
def test_parameters_of_mlp_by_its_formula(inputs, width, depth, outputs):
    by_formula = (inputs + 1) * width + (depth - 1) * (width + 1) * width + (width + 1) * outputs
    assert build_model(mlp(width, depth, outputs=outputs), (inputs,)).setup.count("params") == by_formula


def test_mlp_without_hidden_layers_is_a_read_out():
    net = build_model(mlp(8, 0, outputs=3), (5,))
    assert [path for path, _ in net.setup.leaves()] == ["dense_1"]
    assert net.setup.count("params") == 18


def test_keras_batch_norm_net():
    """Flatten, BN, 300, BN, 100, BN, 10 as Keras counts it (Hands-On Machine Learning, chapter 11)."""
    net = build_model(
        sequential([flatten(), batch_norm(), dense(300), batch_norm(), dense(100), batch_norm(), dense(10)]),
        (28, 28),
    )
    counts = [leaf.count("params") + leaf.count("state") for _, leaf in net.setup.leaves()]
    assert counts == [0, 3136, 235_500, 1200, 30_100, 400, 1010]
    trained, tracked = net.setup.count("params"), net.setup.count("state")
    assert (trained + tracked, trained, tracked) == (271_346, 268_978, 2_368)


@pytest.mark.parametrize(
    ("layer", "input_shape", "named"),
    [
        (sequential([dense(5), residual([dense(4)])]), (4,), r"residual_1.*\[4\].*\[5\]"),
        (sequential([residual(["relu", flatten()])]), (3, 4), r"residual_1.*\[12\].*\[3, 4\]"),
        (residual([dense(5)], shortcut=[dense(3)]), (4,), r"make \[5\] of \[4\], and its shortcut \[3\]"),
        (sequential(["relu", dense(3)]), (), "dense_1"),
        (sequential(["relu", batch_norm()]), (), "batch_norm_1"),
        (sequential([layer_norm()]), (), "layer_norm_1"),
        (sequential(["relu", group_norm(1)]), (), "group_norm_1"),
        (sequential([dense(6), group_norm(4)]), (3,), "group_norm_1.*4 groups must divide the 6 features"),
        (group_norm(8), (4,), "8 groups must divide the 4 features"),
        (group_norm(4), (4,), "group_norm_1: of one value in each of 4 groups is 0 whatever it is"),
        (layer_norm(), (3, 1), "layer_norm_1: of one feature is 0 whatever it is"),
        (sequential([residual([residual([dense(3)])])]), (4,), "residual_1.*residual_1"),
        (sequential([lstm(4), dropout(0.5), gru(4)]), (3, 2), "gru_1: .* let lstm_1 have read: null"),
        (sequential([bidirectional(gru(4)), conv1d(4, 2)]), (3, 2), "let bidirectional_1 have read: null"),
        (sequential([conv1d(4, 2), "relu", max_pool()]), (9, 2), "max_pool_1: .* let it be max_pool1d"),
        (sequential([max_pool1d(), conv2d(4, 2)]), (9, 2), "conv2d_1: .* signals of 2 channels; .*be conv1d"),
    ],
)
def test_shapes_that_do_not_fit_name_the_layer(layer, input_shape, named):
    with pytest.raises(InvalidValue, match=named):
        build_model(layer, input_shape)


def test_sequences_are_taken_for_sequences():
    """What may stand side by side: the last state is of all steps, or an image is made of it."""
    for layers in (
        [lstm(4, read=None), "relu", gru(4)],
        [lstm(4, read=None), lstm(4, read=None), conv1d(4, 2), max_pool1d()],
        [lstm(4, read=None), conv2d(4, 2), max_pool()],  # Zhou et al. 2016
        [conv1d(4, 2), reshape([8, 4, 1]), conv2d(2, 2), max_pool()],
        [conv1d(4, 2), flatten(), dense(4), reshape([4, 1]), lstm(2)],
    ):
        build_model(sequential(layers), (9, 2))


# --- first weights ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel_init", ["he_normal", "glorot_uniform", "orthogonal"])
def test_first_weights_depend_on_the_path_alone(kernel_init):
    def kernels(*layers):
        params, _ = build_model(sequential(list(layers)), (6,)).init(SEED)
        return {path: entry["kernel"] for path, entry in params.items() if "kernel" in entry}

    def part():
        return dense(6, kernel_init=kernel_init)

    plain = kernels(part(), "relu", part())
    with_others = kernels(batch_norm(), part(), "tanh", dropout(0.5), part(), layer_norm(), part())
    deeper = kernels(repeat(4, [part()]))
    assert not np.array_equal(plain["dense_1"], plain["dense_2"])
    for name in ("dense_1", "dense_2"):
        np.testing.assert_array_equal(plain[name], with_others[name])
        np.testing.assert_array_equal(plain[name], deeper[name])


def test_first_weights_follow_the_seed():
    net = build_model(sequential([dense(6), residual([dense(6)])]), (6,))
    first, again, other = (net.init(seed)[0] for seed in (0, 0, 1))
    assert jax.tree.map(np.ndarray.tobytes, first) == jax.tree.map(np.ndarray.tobytes, again)
    assert not np.array_equal(kernel_of(first, "dense_1"), kernel_of(other, "dense_1"))
    assert not np.array_equal(kernel_of(first, "dense_1"), kernel_of(first, "residual_1", "dense_1"))


def test_first_weights_are_arrays_of_the_host_by_seed_and_path():
    part = dense(5, kernel_init="normal")
    params, _ = build_model(sequential([part, residual([part])]), (4,)).init(3)
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(params))
    for path, found in (
        ("/dense_1/kernel", kernel_of(params, "dense_1")),
        ("/residual_1/dense_1/kernel", kernel_of(params, "residual_1", "dense_1")),
    ):
        drawn = generator(3, "first weights", path).standard_normal(found.shape, np.float32)
        np.testing.assert_allclose(found, 0.01 * drawn, rtol=1e-6)


def test_first_weights_need_no_jax():
    code = """
import sys
from nnlab.nn.convolution import conv1d, conv2d
from nnlab.nn.dense import dense
from nnlab.nn.model import build_model
build_model(dense(3, kernel_init="orthogonal"), (4,)).init(0)
assert not {"jax", "scipy"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_bias_that_its_initializer_cannot_draw_is_named():
    net = build_model(sequential([dense(4), residual([dense(4, bias_init="he_normal")])]), (4,))
    with pytest.raises(InvalidValue, match=r"residual_1/dense_1/bias: .* two axes"):
        net.init(SEED)


def test_weights_beyond_float32_are_infinite():
    net = build_model(dense(4, kernel_init={"type": "constant", "value": 1e300}), (4,))
    assert np.isinf(kernel_of(net.init(SEED)[0], "dense_1")).all()
