"""Units matched by permutation: the same function, and the nearest of all orders."""

import itertools

import jax
import numpy as np
import pytest

from nnlab.config.resolve import resolve
from nnlab.errors import InvalidValue
from nnlab.nn.model import build_model
from nnlab.nn.permutation import dense_chain, matched_units
from nnlab.registry import build

WIDTHS = (7, 6, 5)


def model_of(*layers, shape=(4,)):
    problems = []
    resolved = resolve("layer", list(layers), (), problems)
    assert problems == []
    return build_model(build("layer", resolved), shape)


def dense(units, **keys):
    return {"type": "dense", "units": units, "bias_init": {"type": "normal", "std": 0.5}, **keys}


def net(widths=WIDTHS, outputs=3):
    hidden = [part for width in widths for part in (dense(width), "tanh")]
    return model_of(*hidden, dense(outputs))


MODELS = {
    "three hidden layers": net(),
    "no bias": model_of({"type": "dense", "units": 9, "use_bias": False}, "relu", dense(2)),
    "dropout": model_of(dense(9), "relu", {"type": "dropout", "rate": 0.5}, dense(2)),
    "images": model_of("flatten", dense(6), "sigmoid", dense(2), shape=(2, 2)),
    "no hidden layer": model_of(dense(3)),
}


def outputs(model, params, inputs):
    return np.asarray(model.apply(params, {}, inputs, key=jax.random.key(0), train=False).value)


def distance(first, second):
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return sum(((a.astype(float) - b) ** 2).sum() for a, b in pairs)


def shuffled(params, orders):
    """The same net with its hidden units in other places, by NumPy alone."""
    kernels = [params[f"dense_{n}"]["kernel"] for n in range(1, len(orders) + 2)]
    biases = [params[f"dense_{n}"]["bias"] for n in range(1, len(orders) + 2)]
    for layer, order in enumerate(orders):
        kernels[layer], biases[layer] = kernels[layer][:, order], biases[layer][order]
        kernels[layer + 1] = kernels[layer + 1][order]
    pairs = enumerate(zip(kernels, biases, strict=True), 1)
    return {f"dense_{n}": {"kernel": kernel, "bias": bias} for n, (kernel, bias) in pairs}


@pytest.mark.parametrize("name", MODELS)
def test_the_function_stays_what_it_is(name):
    model = MODELS[name]
    wanted, given = (model.init(seed)[0] for seed in (0, 1))
    inputs = np.random.default_rng(0).standard_normal(
        (50, *((2, 2) if name == "images" else (4,))), np.float32
    )
    matched = matched_units(model.setup, wanted, given)
    np.testing.assert_allclose(
        outputs(model, matched, inputs), outputs(model, given, inputs), rtol=0, atol=1e-6
    )
    assert distance(wanted, matched) <= distance(wanted, given)
    sorted_values = ([np.sort(leaf, None) for leaf in jax.tree.leaves(tree)] for tree in (matched, given))
    for one, other in zip(*sorted_values, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_net_whose_units_changed_places_is_found_again():
    model, random = net(), np.random.default_rng(3)
    params, _ = model.init(0)
    moved = shuffled(params, [random.permutation(width) for width in WIDTHS])
    assert distance(params, moved) > 1
    for found, wanted in zip(
        jax.tree.leaves(matched_units(model.setup, params, moved)), jax.tree.leaves(params), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


def test_of_one_hidden_layer_it_is_the_nearest_of_all_orders():
    model = net((6,))
    wanted, given = (model.init(seed)[0] for seed in (0, 1))
    least = min(
        distance(wanted, shuffled(given, [list(order)])) for order in itertools.permutations(range(6))
    )
    assert distance(wanted, matched_units(model.setup, wanted, given)) == pytest.approx(least, rel=1e-12)


def test_of_several_layers_no_change_of_one_is_nearer():
    model = net((5, 4, 5))
    wanted, given = (model.init(seed)[0] for seed in (0, 1))
    matched = matched_units(model.setup, wanted, given)
    reached = distance(wanted, matched)
    for layer, width in enumerate((5, 4, 5)):
        for order in itertools.permutations(range(width)):
            orders = [np.arange(units) for units in (5, 4, 5)]
            orders[layer] = np.array(order)
            assert distance(wanted, shuffled(matched, orders)) >= reached * (1 - 1e-6)


@pytest.mark.parametrize(
    ("layers", "shape", "name"),
    [
        (["batch_norm"], (4,), "batch_norm_1"),
        ([{"type": "residual", "layers": [dense(4)]}], (4,), "residual_1"),
        (["flatten"], (4,), "flatten_1"),
        ([{"type": "conv1d", "filters": 3, "size": 2}], (4, 1), "conv1d_1"),
    ],
)
def test_other_layers_are_refused_in_a_line(layers, shape, name):
    model = model_of(
        *([] if name.startswith("conv") else [dense(4)]), *layers, "relu", "flatten", dense(2), shape=shape
    )
    with pytest.raises(
        InvalidValue, match=rf"^units are matched in a chain .* and {name} is none; leave it out"
    ):
        dense_chain(model.setup)
