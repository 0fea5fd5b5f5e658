"""The tangent kernel against its definition, and the detector of laziness on planted sweeps."""

import jax
import numpy as np
import pandas
import pytest
from support import FakeRun, FakeSweep, assert_labelled, experiment_of, tables_of

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.optimization import laziness, tangent_kernel
from nnlab.training.cost import probe_costs
from nnlab.training.loop import train

TREE = {
    "name": "kernel",
    "data": {"type": "xor", "examples": 30, "split": {"train": 1.0}, "batch_size": "full"},
    "model": [{"type": "dense", "units": 3}, "tanh", {"type": "dense", "units": 2}],
    "optimizer": {"type": "sgd", "learning_rate": 0.5},
    "train": {"steps": 20},
    "record": {"every": {"steps": 20}, "layers": False},
    "phenomena": [{"type": "tangent_kernel", "examples": 7}],
}


def kernel_by_hand(params, inputs):
    """Of a net of tanh units: its gradients written down, one example and one output at a time."""
    first, second = ({k: np.asarray(v, np.float64) for k, v in layer.items()} for layer in params.values())
    rows = []
    for x in np.asarray(inputs, np.float64):
        hidden = np.tanh(x @ first["kernel"] + first["bias"])
        for output in range(2):
            back = second["kernel"][:, output] * (1 - hidden**2)
            one_hot = np.eye(2)[output]
            gradients = (np.outer(x, back), back, np.outer(hidden, one_hot), one_hot)
            rows.append(np.concatenate([gradient.ravel() for gradient in gradients]))
    jacobian = np.reshape(rows, (len(inputs), 2, -1))
    return np.einsum("nkp,mkp->nm", jacobian, jacobian)


def test_the_changes_are_those_of_kernel_and_weights_by_hand():
    experiment = experiment_of(TREE)
    chunks = list(train(experiment))
    table = tables_of(chunks)["tangent_kernel"]
    start, end = experiment.model.init(0)[0], jax.tree.map(np.asarray, chunks[-1].state().params)
    inputs = experiment.data.train.inputs[:7]
    before, after = kernel_by_hand(start, inputs), kernel_by_hand(end, inputs)
    expected = np.linalg.norm(after - before) / np.linalg.norm(before)
    np.testing.assert_allclose(table["kernel_change"], [0, expected], rtol=1e-4)
    flat = [np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)]) for tree in (start, end)]
    expected = np.linalg.norm(flat[1] - flat[0]) / np.linalg.norm(flat[0])
    np.testing.assert_allclose(table["weight_change"], [0, expected], rtol=1e-5)
    assert expected > 0.1
    (cost,) = probe_costs(experiment)
    assert cost.flops == 2 * (2 * 2 * 7 * (12 + 7)) * 2 * (6 + 6)


def test_the_numbers_of_a_run_are_the_last_finite_ones():
    table = pandas.DataFrame(
        {"step": [0, 5, 9], "weight_change": [0, 0.25, np.nan], "kernel_change": [0, 0.5, np.inf]}
    )
    run = FakeRun({"tangent_kernel": table}, {})
    assert tangent_kernel.detect(run) == (0.25, 0.5)
    with plotting.style():
        figure = tangent_kernel.changes([run])
    assert_labelled(figure)
    assert "move by 25 %" in figure.axes[0].get_title(loc="left")
    with pytest.raises(InvalidValue, match="no change is finite"):
        tangent_kernel.detect(FakeRun({"tangent_kernel": table[2:]}, {}))


WIDTHS = (32, 64, 128, 256, 512)


def planted(weights, kernel=None, losses=None, widths=WIDTHS, noise=0.0):
    """A sweep of three seeds whose changes are functions of the width."""
    random = np.random.default_rng(0)
    rows = [
        {"trial": f"{width}-{seed}", "width": width, "seed": seed, "status": "complete"}
        | {laziness.WEIGHTS: weights(width) * np.exp(noise * random.standard_normal())}
        | {laziness.KERNEL: (kernel or weights)(width)}
        | ({laziness.TEST_LOSS: losses(width)} if losses else {})
        for width in widths
        for seed in range(3)
    ]
    return FakeSweep(pandas.DataFrame(rows), axes=["width"])


@pytest.mark.parametrize(
    ("weights", "noise", "verdict"),
    [
        (lambda m: 3 * m**-0.5, 0.02, "lazy"),
        (lambda m: m**-1.0, 0.02, "lazy"),
        (lambda m: m**-0.41, 0.0, "lazy"),
        (lambda m: m**-0.39, 0.0, "between"),
        (lambda m: m**-0.5, 0.9, "between"),  # too noisy for a line
        (lambda m: 0.7, 0.01, "rich"),
        (lambda m: m**-0.09, 0.0, "rich"),
        (lambda m: m**-0.11, 0.0, "between"),
        (lambda m: m**0.5, 0.0, "rich"),
    ],
)
def test_verdict(weights, noise, verdict):
    assert laziness.detect(planted(weights, noise=noise), "width").verdict == verdict


def test_numbers():
    found = laziness.detect(planted(lambda m: 2 / m, lambda m: m**-2.0, lambda m: m / 64), "width")
    assert found.slope == pytest.approx(-1)
    assert found.r_squared == pytest.approx(1)
    assert found.kernel_slope == pytest.approx(-2)
    assert (found.least_change, found.greatest_change) == (2 / 512, 2 / 32)
    assert (found.lazy_test_loss, found.rich_test_loss, found.test_loss_ratio) == (8, 0.5, 16)
    assert found.reason is None


def test_what_is_not_known_is_null_and_says_why():
    found = laziness.detect(planted(lambda m: 0.5, lambda m: 0.0), "width")
    assert found.verdict == "rich"
    assert found.r_squared is found.kernel_slope is found.test_loss_ratio is None
    for why in ("the same all along", "a kernel does not change", "no test loss"):
        assert why in found.reason
    with pytest.raises(InvalidValue, match="takes 3 values above 0"):
        laziness.detect(planted(lambda m: 0.5, widths=(32, 64)), "width")
    with pytest.raises(InvalidValue, match="takes 3 values above 0"):
        laziness.detect(planted(lambda m: 0.0), "width")


def test_figure_says_what_is_found():
    lazy = planted(lambda m: m**-0.5, lambda m: 1 / m, lambda m: m / 64)
    for sweeps in ([lazy], [lazy, planted(lambda m: 0.5 + m / 1e4)]):
        with plotting.style():
            figure = laziness.changes_along(sweeps, "width")
        assert_labelled(figure)
    title = figure.axes[0].get_title(loc="left").replace("\n", " ")
    assert title == "sweep: lazy, the weights' change goes by the power -0.50"
    assert len(figure.axes) == 3
