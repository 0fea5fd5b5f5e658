"""Convolution, pooling and the architectures: PyTorch, masked dense kernels, lecture 001's arithmetic."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from nnlab.errors import InvalidValue
from nnlab.nn import architectures
from nnlab.nn.architectures import C3, lenet5, lenet1989, resnet
from nnlab.nn.convolution import conv1d, conv2d
from nnlab.nn.model import build_model
from nnlab.nn.pooling import (
    average_pool,
    average_pool1d,
    global_average_pool,
    global_max_pool,
    max_pool,
    max_pool1d,
    median_pool,
    median_pool1d,
    subsample,
)
from nnlab.nn.rbf import rbf
from nnlab.nn.reshaping import reshape, upsample
from nnlab.nn.windows import lay_windows
from nnlab.system import device

KEY = jax.random.key(0)
BATCH = 3


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def shaken(net):
    """First params of the model's one layer, with biases away from 0."""
    params, state = net.init(1)
    leaves, structure = jax.tree.flatten(params)
    moved = [leaf + 0.2 * drawn(*leaf.shape, seed=9 + i) for i, leaf in enumerate(leaves)]
    return jax.tree.unflatten(structure, moved), state


def pulled_back(net, params, state, x):
    """Output, gradients of sum(weights * output) by params and inputs, and the weights."""
    weights = drawn(len(x), *net.setup.output_shape, seed=3)

    def total(params, x):
        value = net.apply(params, state, x, key=KEY, train=True).value
        return (weights * value).sum(), value

    pulling = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))
    (_, value), gradients = pulling(params, x)
    return value, *gradients, weights


def close(found, expected):
    expected = expected.detach().numpy() if hasattr(expected, "detach") else expected
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-5, atol=1e-5)


def channels_first(torch, x, requires_grad=False):
    return torch.tensor(np.moveaxis(np.asarray(x), -1, 1).copy(), requires_grad=requires_grad)


def assert_equals_torch(torch, layer, x, theirs):
    """theirs: (input, kernel, bias), channels first, to the output."""
    net = build_model(layer, x.shape[1:])
    params, state = shaken(net)
    value, by_params, by_x, weights = pulled_back(net, params, state, x)
    (own,) = params.values() or [{}]
    (slopes,) = by_params.values() or [{}]
    tensors = {name: torch.tensor(np.array(array), requires_grad=True) for name, array in own.items()}
    z = channels_first(torch, x, requires_grad=True)
    y = theirs(z, **tensors)
    (channels_first(torch, weights) * y).sum().backward()
    close(value, y.detach().movedim(1, -1))
    close(by_x, z.grad.movedim(1, -1))
    for name, tensor in tensors.items():
        close(slopes[name], tensor.grad)


# --- convolution -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["matmul", "xla"])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"use_bias": False},
        {"stride": [2, 1], "padding": 1},
        {"size": [2, 4], "dilation": [2, 1], "padding": 2},
        {"size": 1, "stride": 2},
        {"size": 3, "stride": 3, "padding": [0, 1]},
        {"groups": 2},
        {"groups": 4, "dilation": 2, "padding": 2, "use_bias": False},
        {"padding": 2, "padding_value": -1.0},
        {"padding": "same", "stride": 2},
        {"size": 2, "stride": 2, "groups": 2},  # from here on the stride does not divide
        {"stride": [4, 3], "padding": 1, "padding_value": -1.0},
        {"size": 2, "stride": [3, 2], "dilation": 2},
    ],
    ids=str,
)
def test_conv2d_equals_pytorch(given, by, monkeypatch):
    """As a product of matrices, and as XLA's own convolution, which accelerators are given."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(device, "is_cpu", lambda: by == "matmul")
    x = drawn(BATCH, 8 if given.get("stride") == 3 else 7, 5, 4)

    def theirs(z, kernel, bias=None):
        pads = {"same": (1, 1), "valid": (0, 0)}.get(str(given.get("padding", "valid")))
        pads = pads or np.broadcast_to(given["padding"], 2).tolist()
        z = torch.nn.functional.pad(z, (*pads, *pads), value=given.get("padding_value", 0.0))
        options = {name: given[name] for name in ("stride", "dilation", "groups") if name in given}
        return torch.nn.functional.conv2d(z, kernel.permute(3, 2, 0, 1), bias, **options)

    assert_equals_torch(torch, conv2d(**{"filters": 8, "size": 3} | given), x, theirs)


@pytest.mark.parametrize(
    "given", [{}, {"stride": 2, "padding": 1, "groups": 2}, {"dilation": 2}, {"stride": 4}], ids=str
)
def test_conv1d_equals_pytorch(given):
    torch = pytest.importorskip("torch")

    def theirs(z, kernel, bias):
        return torch.nn.functional.conv1d(z, kernel.permute(2, 1, 0), bias, **given)

    assert_equals_torch(torch, conv1d(6, 3, **given), drawn(BATCH, 9, 4), theirs)


@pytest.mark.parametrize("stride", [1, 2])
def test_conv2d_with_a_bias_for_each_place_equals_pytorch(stride):
    torch = pytest.importorskip("torch")

    def theirs(z, kernel, bias):
        y = torch.nn.functional.conv2d(z, kernel.permute(3, 2, 0, 1), stride=stride)
        return y + bias.permute(2, 0, 1)

    layer = conv2d(6, 3, stride=stride, untied_bias=True)
    assert_equals_torch(torch, layer, drawn(BATCH, 5, 6, 4), theirs)


def test_partial_connections_equal_a_masked_dense_kernel():
    table = [[0, 2], [1], [2, 1, 0]]
    net = build_model(conv2d(3, 2, connections=table), (4, 4, 3))
    whole = build_model(conv2d(3, 2), (4, 4, 3))
    params, state = shaken(net)
    x = drawn(BATCH, 4, 4, 3)
    own = params["conv2d_1"]
    assert own["kernel"].shape == (2, 2, 6)
    pairs = [(channel, k) for k, seen in enumerate(table) for channel in seen]
    dense_kernel = np.zeros((2, 2, 3, 3), np.float32)
    for place, (channel, k) in enumerate(pairs):
        dense_kernel[:, :, channel, k] = own["kernel"][:, :, place]
    value, by_params, by_x, _ = pulled_back(net, params, state, x)
    masked = {"conv2d_1": {"kernel": jnp.asarray(dense_kernel), "bias": own["bias"]}}
    expected, by_masked, by_x_masked, _ = pulled_back(whole, masked, {}, x)
    close(value, expected)
    close(by_x, by_x_masked)
    found = by_params["conv2d_1"]["kernel"]
    for place, (channel, k) in enumerate(pairs):
        close(found[:, :, place], by_masked["conv2d_1"]["kernel"][:, :, channel, k])


def test_a_filter_of_partial_connections_is_drawn_by_its_own_fan_in():
    table = [[0], [*range(64)]]
    kernel = build_model(conv2d(2, 9, connections=table, kernel_init="he_normal"), (9, 9, 64)).init(0)[0]
    kernel = kernel["conv2d_1"]["kernel"].reshape(81, -1)
    assert kernel[:, 0].std() == pytest.approx(math.sqrt(2 / 81), rel=0.25)
    assert kernel[:, 1:].std() == pytest.approx(math.sqrt(2 / (81 * 64)), rel=0.05)


@pytest.mark.parametrize("length", [5, 8, 13])
@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_sizes_by_the_lectures_formula(length, size, stride):
    for padding in (0, 1, 2):
        expected = math.floor((length - size + 2 * padding) / stride) + 1
        seen = [  # of each position, whether a window has it
            any(0 <= position + padding - stride * window < size for window in range(expected))
            for position in range(length)
        ]
        for make in (
            functools.partial(conv1d, 3),
            *([max_pool1d, average_pool1d] if padding < size else []),
        ):
            layer = make(size=size, stride=stride, padding=padding)
            net = build_model(layer, (length, 2))
            (setup,) = net.setup.children.values()
            unseen = seen[::-1].index(True) - max(stride - size, 0)
            assert setup.note == (f"last {unseen} of {length} positions unseen" if unseen > 0 else "")
            x = jax.ShapeDtypeStruct((BATCH, length, 2), jnp.float32)
            params = jax.tree.map(lambda v: jax.ShapeDtypeStruct(v.shape, jnp.float32), net.init(0)[0])
            out = jax.eval_shape(lambda p, x, n=net: n.apply(p, {}, x, key=KEY, train=True).value, params, x)
            assert net.setup.output_shape[0] == expected == out.shape[1]
    same = build_model(conv1d(3, size, stride=stride, padding="same"), (length,))
    assert same.setup.output_shape == (math.ceil(length / stride), 3)


@pytest.mark.parametrize(
    ("layer", "note"),
    [
        (conv2d(2, 3, stride=2), "last 1 of 10 rows and columns unseen"),
        (conv2d(2, 3, stride=2, padding=1), ""),
        (conv2d(2, [3, 2], stride=[2, 1]), "last 1 of 10 rows unseen"),
        (conv2d(2, [3, 4], stride=[2, 4]), "last 1 of 10 rows, last 2 of 10 columns unseen"),
        (conv2d(2, 2, stride=4, dilation=2), "last 2 of 10 rows and columns unseen"),
        (conv2d(2, 1, stride=2), ""),  # it skips one between any two
        (max_pool(4), "last 2 of 10 rows and columns unseen"),
        (subsample(3), "last 1 of 10 rows and columns unseen"),
        (max_pool(4, padding="same"), ""),
    ],
)
def test_a_layer_notes_which_rows_and_columns_it_does_not_see(layer, note):
    (setup,) = build_model(layer, (10, 10)).setup.children.values()
    assert setup.note == note


# --- pooling ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "given"),
    [
        (6, {}),
        (7, {"size": 3, "stride": 2, "padding": 1}),
        (6, {"size": 2, "stride": 1}),
        (7, {}),  # from here on the stride does not divide
        (6, {"size": 3, "stride": 2}),
        (6, {"size": 3, "stride": 2, "padding": 1}),
        (9, {"size": 4, "padding": 1}),
        (6, {"size": 3, "padding": 1}),
        (7, {"size": [3, 2], "stride": [1, 3], "padding": 1}),
    ],
    ids=str,
)
@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("name", ["max", "average"])
def test_pooling_equals_pytorch(name, axes, side, given):
    torch = pytest.importorskip("torch")
    if axes == 1:  # [height, width] is of images
        given = {name: value[0] if isinstance(value, list) else value for name, value in given.items()}
    make = {("max", 1): max_pool1d, ("max", 2): max_pool, ("average", 1): average_pool1d}.get(
        (name, axes), average_pool
    )
    there = {"size": 2} | given
    options = {
        "kernel_size": there["size"],
        "stride": there.get("stride"),
        "padding": there.get("padding", 0),
    }
    if name == "average":
        options["count_include_pad"] = False
    theirs = getattr(torch.nn, f"{name[:3].title()}Pool{axes}d".replace("Ave", "Avg"))
    x = drawn(BATCH, *(side,) * axes, 4)
    x = np.where(x > 1, 1, x).astype(np.float32)  # ties: the gradient goes to the first
    assert_equals_torch(torch, make(**given), x, theirs(**options))


def test_the_gradient_of_equal_values_goes_to_the_first():
    def slopes(layer, x):
        net = build_model(layer, x.shape[1:])
        return jax.jit(jax.grad(lambda x: net.apply({}, {}, x, key=KEY, train=True).value.sum()))(x)

    np.testing.assert_array_equal(slopes(max_pool(), jnp.ones((1, 2, 2)))[0], [[1, 0], [0, 0]])
    np.testing.assert_array_equal(slopes(global_max_pool(), jnp.ones((1, 3, 2)))[0], [[1, 1], [0, 0], [0, 0]])


def test_forward_mode_goes_through_pooling_and_nan_stays():
    net = build_model(max_pool(), (2, 2))
    x, change = jnp.asarray(drawn(1, 2, 2)), jnp.asarray(drawn(1, 2, 2, seed=1))
    pool = jax.jit(lambda x: net.apply({}, {}, x, key=KEY, train=True).value)
    _, slope = jax.jvp(pool, (x,), (change,))
    assert slope.item() == change.ravel()[x.argmax()]
    assert np.isnan(pool(x.at[0, 0, 0].set(jnp.nan))).all()


@pytest.mark.parametrize(
    ("size", "stride", "padding"),
    [(3, 3, "valid"), (2, 2, "valid"), (3, 1, "same"), (2, 1, "same"), (4, 3, 1), (1, 1, "valid"), (5, 2, 2)],
)
@pytest.mark.parametrize("axes", [1, 2])
def test_median_pooling_equals_numpy_and_its_gradient_finite_differences(axes, size, stride, padding):
    x = drawn(2, *(7,) * axes, 2)
    layer = (median_pool1d if axes == 1 else median_pool)(size, stride, padding)
    net = build_model(layer, x.shape[1:])
    pool = jax.jit(lambda x: net.apply({}, {}, x, key=KEY, train=True).value)
    (span, *_) = lay_windows((7,), (size,), (stride,), padding)

    def window(number):
        start = number * stride - span.before
        return slice(max(0, start), min(7, start + size))

    def medians(x):
        places = itertools.product(range(span.windows), repeat=axes)
        rows = [np.median(x[:, *map(window, place)], axis=tuple(range(1, 1 + axes))) for place in places]
        return np.stack(rows, axis=1).reshape(2, *(span.windows,) * axes, 2)

    close(pool(x), medians(x))
    weights = drawn(*pool(x).shape, seed=1)
    slopes = np.asarray(jax.grad(lambda x: (weights * pool(x)).sum())(jnp.asarray(x)), float)
    change, exact = drawn(*x.shape, seed=2).astype(float), x.astype(float)
    step = 1e-7  # too small to change the order in a window
    rise = (weights * (medians(exact + step * change) - medians(exact - step * change))).sum() / (2 * step)
    assert (slopes * change).sum() == pytest.approx(rise, rel=1e-3)


def test_a_median_filter_removes_impulses_that_mean_and_maximum_spread():
    random = np.random.default_rng(0)
    across, down = np.meshgrid(np.linspace(0, 6, 32), np.linspace(0, 4, 32))
    images = 0.5 + 0.4 * np.sin(across + down + random.uniform(0, 6, (20, 1, 1)))  # smooth ones
    is_hit = random.random(images.shape) < 0.1
    noisy = np.where(is_hit, random.integers(0, 2, images.shape), images).astype(np.float32)

    def error(make):
        net = build_model(make(3, 1, "same"), images.shape[1:])
        return float(
            np.square(net.apply({}, {}, jnp.asarray(noisy), key=KEY, train=True).value - images).mean()
        )

    errors = {make.__name__: error(make) for make in (median_pool, average_pool, max_pool)}
    assert 5 * errors["median_pool"] < errors["average_pool"] < errors["max_pool"], errors
    theirs = ndimage.median_filter(noisy, size=(1, 3, 3))[:, 1:-1, 1:-1]
    net = build_model(median_pool(3, 1), images.shape[1:])
    np.testing.assert_array_equal(net.apply({}, {}, jnp.asarray(noisy), key=KEY, train=True).value, theirs)


def test_a_median_of_nan_is_nan():
    net = build_model(median_pool(2), (2, 4))
    x = jnp.ones((1, 2, 4)).at[0, 0, 0].set(jnp.nan)
    np.testing.assert_array_equal(net.apply({}, {}, x, key=KEY, train=True).value, [[[np.nan, 1.0]]])


def test_subsample_equals_pytorch():
    torch = pytest.importorskip("torch")

    def theirs(z, coefficient, bias):
        sums = 4 * torch.nn.functional.avg_pool2d(z, 2)
        return coefficient[:, None, None] * sums + bias[:, None, None]

    assert_equals_torch(torch, subsample(), drawn(BATCH, 4, 6, 6), theirs)
    assert_equals_torch(torch, subsample(), drawn(BATCH, 5, 7, 3), theirs)
    net = build_model(subsample(), (4, 4))
    x = drawn(BATCH, 4, 4)
    first = net.apply(*net.init(0), jnp.asarray(x), key=KEY, train=True).value
    close(first, x.reshape(BATCH, 2, 2, 2, 2).mean((2, 4)))


def test_whole_images_and_sequences():
    x = drawn(BATCH, 3, 4, 5)

    def applied(layer, x):
        return build_model(layer, x.shape[1:]).apply({}, {}, jnp.asarray(x), key=KEY, train=True).value

    close(applied(global_average_pool(), x), x.mean((1, 2)))
    close(applied(global_max_pool(), x[:, 0]), x[:, 0].max(1))
    close(applied(global_max_pool(), x), x.max((1, 2)))
    close(applied(upsample(2), x), x.repeat(2, 1).repeat(2, 2))
    close(applied(upsample(3), x[..., 0]), x[..., 0].repeat(3, 1).repeat(3, 2))
    close(applied(reshape([5, 12]), x), x.reshape(BATCH, 5, 12))


# --- architectures ---------------------------------------------------------------------------------------


def counts(net):
    return [leaf.count("params") for _, leaf in net.setup.leaves() if leaf.params]


def test_lenet1989_as_its_paper_counts_it():
    net = build_model(lenet1989(), (16, 16))
    assert counts(net) == [1068, 2592, 5790, 310]
    assert net.setup.count("params") == 9760
    assert [leaf.output_shape for _, leaf in net.setup.leaves() if leaf.type == "conv2d"] == [
        (8, 8, 12),
        (4, 4, 12),
    ]
    params, _ = net.init(0)
    kernels = {name: np.abs(own["kernel"]) for name, own in params.items()}
    for name, fan_in in (("conv2d_1", 25), ("conv2d_2", 200), ("dense_1", 192), ("dense_2", 30)):
        limit = 2.4 / math.sqrt(fan_in)
        assert 0.95 * limit < kernels[name].max() <= np.float32(limit)
    assert (params["dense_2"]["bias"] == -1).all()
    last = [path for path, _ in build_model(lenet1989(squash_outputs=False), (16, 16)).setup.leaves()][-1]
    assert last == "dense_2"


def test_lenet5_as_its_paper_counts_it():
    original = build_model(lenet5("original"), (28, 28))
    assert counts(original) == [156, 12, 1516, 32, 48_120, 10_164]
    assert original.setup.count("params") == 60_000
    assert original.setup.children["conv2d_2"].params["kernel"].shape == (5, 5, 60)
    sides = [leaf.output_shape[0] for _, leaf in original.setup.leaves() if len(leaf.output_shape) == 3]
    assert list(dict.fromkeys(sides)) == [28, 14, 10, 5, 1]
    assert build_model(lenet5(), (28, 28)).setup.count("params") == 61_706
    with pytest.raises(InvalidValue, match="leave pooling out"):
        lenet5("original", pooling="max")


def test_the_table_of_c3():
    """LeCun et al. 1998: 6 filters see 3 maps in a row, 9 see 4, one all; each map is seen by 10."""
    assert [len(seen) for seen in C3] == [3] * 6 + [4] * 9 + [6]
    assert len({tuple(sorted(seen)) for seen in C3}) == 16
    assert [sum(channel in seen for seen in C3) for channel in range(6)] == [10] * 6
    assert [sorted(seen) for seen in C3[12:15]] == [[0, 1, 3, 4], [1, 2, 4, 5], [0, 2, 3, 5]]
    assert [sum(channel in seen for seen in architectures.H2) for channel in range(12)] == [8] * 12


def test_rbf_is_a_squared_distance_to_signs():
    net = build_model(rbf(5), (84,))
    params, state = net.init(0)
    codes = state["rbf_1"]["codes"]
    assert params == {}
    assert set(np.unique(codes)) == {-1, 1}
    x = drawn(BATCH, 84)
    found = net.apply(params, state, jnp.asarray(x), key=KEY, train=True)
    close(found.value, [[-((row - codes[:, k]) ** 2).sum() for k in range(5)] for row in x.astype(float)])
    np.testing.assert_array_equal(found.state["rbf_1"]["codes"], codes)


def test_resnet18_as_pytorch_counts_it():
    """Per stage: 2 blocks of 2 convolutions and 2 norms, and from stage to stage a 1 x 1 convolution."""
    net = build_model(resnet(64), (32, 32, 3))
    by_hand = 27 * 64 + 4 * (9 * 64 * 64 + 2 * 64)
    for width in (128, 256, 512):
        half = width // 2
        by_hand += 9 * half * width + 3 * 9 * width**2 + 2 * half + 3 * 2 * width + half * width
    assert net.setup.count("params") == by_hand + 5130 == 11_171_146
    shortcuts = sum(leaf.count("params") for path, leaf in net.setup.leaves() if "shortcut" in path)
    assert shortcuts == 64 * 128 + 128 * 256 + 256 * 512
    plain = build_model(resnet(64, skip=False), (32, 32, 3)).setup
    assert plain.count("params") == net.setup.count("params") - shortcuts
    assert not any("residual" in path for path, _ in plain.leaves())
    sides = [leaf.output_shape[0] for _, leaf in plain.leaves() if leaf.type == "conv2d"]
    assert sides == [32] * 5 + [16] * 4 + [8] * 4 + [4] * 4


# --- what does not fit -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "shape", "said"),
    [
        (
            lambda: conv1d(2, 3, dilation=2),
            (4,),
            r"length: floor\(\(4 - 5 \+ 0\)/1\) \+ 1 = 0: the window is larger",
        ),
        (lambda: max_pool(), (5, 1), r"width: floor\(\(1 - 2 \+ 0\)/2\) \+ 1 = 0: the window is larger"),
        (lambda: max_pool(padding=2), (4, 4), "padding must be smaller than the size, 2"),
        (lambda: max_pool([3, 2], padding=2), (4, 4), "padding must be smaller than the size, 2"),
        (lambda: max_pool([2]), (4, 4), r"size takes a number or \[height, width\], not \[2\]"),
        (lambda: max_pool(2, [2]), (4, 4), r"stride takes a number or \[height, width\], not \[2\]"),
        (lambda: conv2d(2, 3), (9,), r"conv2d takes images, \[H, W\] or \[H, W, C\], not \[9\]"),
        (lambda: conv1d(2, 3), (9, 9, 1), r"conv1d takes signals, \[L\] or \[L, C\], not \[9, 9, 1\]"),
        (lambda: global_average_pool(), (9,), r"takes inputs with channels, \[..., C\], not \[9\]"),
        (lambda: conv2d(4, 3, groups=2), (9, 9, 3), "2 groups must divide the 3 channels"),
        (lambda: conv2d(3, 3, groups=2), (9, 9, 4), "2 groups must divide the 3 filters"),
        (lambda: conv2d(2, [3]), (9, 9), r"size takes a number or \[height, width\], not \[3\]"),
        (
            lambda: conv2d(2, 3, padding=[1]),
            (9, 9),
            r"padding takes a number or \[before, after\], not \[1\]",
        ),
        (lambda: conv2d(2, 3, connections=[[0]]), (9, 9), "there are 2 filters, and connections of 1"),
        (lambda: conv2d(2, 3, connections=[[0], []]), (9, 9), "one channel or more, each once"),
        (lambda: conv2d(2, 3, connections=[[0], [1, 1]]), (9, 9), "one channel or more, each once"),
        (lambda: conv2d(2, 3, connections=[[0], [3]]), (9, 9, 3), "no channel 3; the 3 there are"),
        (lambda: conv2d(2, 3, connections=[[0], [1]], groups=2), (9, 9, 2), "leave groups out"),
        (lambda: conv2d(2, 3, use_bias=False, untied_bias=True), (9, 9), "untied_bias needs biases"),
        (lambda: reshape([5]), (2, 3), r"\[2, 3\] has 6 values and \[5\] 5"),
        (lambda: rbf(3), (2, 3), "rbf takes inputs of one axis"),
        (lambda: lenet5("original", outputs=1), (28, 28), "a single output would never be positive"),
    ],
)
def test_what_does_not_fit_is_refused(make, shape, said):
    with pytest.raises(InvalidValue, match=said):
        build_model(make(), shape)
