"""How far a training takes the weights from where they began, and the tangent kernel with them.

In shapes, N stands for examples, K for outputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup, Tree
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon, refuse_non_numeric
from nnlab.phenomena.probe import GRADIENT_PASSES, Probe, RowLabels, Snapshot
from nnlab.registry import Count
from nnlab.system.imports import Array, jax, jnp

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EXAMPLES_PER_BATCH = 8  # whose gradients are computed together
TABLE, COLUMNS = "tangent_kernel", ("weight_change", "kernel_change")


class TangentKernel(NamedTuple):
    """Changes since the first weights, at the last record.

    Attributes:
        weight_change: Distance of all weights from the first ones, over the length of those; from 0.
        kernel_change: Distance of the tangent kernel from that of the first weights, in the Frobenius norm,
            over the norm of that; from 0.
    """

    weight_change: float
    kernel_change: float


@phenomenon
def tangent_kernel(examples: Count = 32, every: Count = 1) -> RunPhenomenon:
    """How far do the weights go, and does the net stay the linear model that it is at its first weights?

    The tangent kernel of two examples is the inner product of the gradients of their outputs by the weights,
    summed over the outputs. While it stays as it was, training is that of a linear model, with this kernel:
    it is lazy, and no features are learnt. Outputs are the last layer's, in evaluation mode.

    Args:
        examples: The kernel is that of so many training examples, the first ones.
        every: Of how many records it measures one.

    Reference:
        Jacot, Gabriel & Hongler 2018, "Neural tangent kernel: convergence and generalization in neural
        networks"; Chizat, Oyallon & Bach 2019, "On lazy training in differentiable programming".
    """

    def measure(setup: Setup, snapshot: Snapshot) -> tuple[Array, ...]:
        inputs = snapshot.examples["train"].inputs[:examples]
        first, now = (kernel_of(snapshot, w, inputs) for w in (snapshot.initial_params, snapshot.params))
        changes = (_distance(snapshot.params, snapshot.initial_params), _distance(now, first))
        return tuple(change[None] for change in changes)

    def passes(data: Data) -> float:
        outputs = (data.train.classes or data.train.targets.shape[-1]) * math.prod(data.train.positions)
        count = min(examples, len(data.train))
        # gradients that are written out, not summed over examples, take longer; then come inner products
        return 2.0 * outputs * count * (4 * GRADIENT_PASSES + count)

    probe = Probe(TABLE, _one_row, COLUMNS, measure, every=every, passes=passes, evaluates_all_examples=True)
    return RunPhenomenon(
        probes=(probe,),
        result=TangentKernel,
        detect=detect,
        figures={"tangent_kernel": changes},
    )


# --- the probe -------------------------------------------------------------------------------------------


def _one_row(setup: Setup, data: Data) -> RowLabels:
    return {"split": ["train"]}


def kernel_of(snapshot: Snapshot, params: Tree, inputs: Array) -> Array:
    """The tangent kernel at some weights, `[N, N]`."""

    def gradients_of(example: Array) -> Tree:
        return jax.jacrev(lambda params: snapshot.evaluate(params, example[None]).value.reshape(-1))(params)

    jacobians = jax.lax.map(gradients_of, inputs, batch_size=EXAMPLES_PER_BATCH)
    rows = [jacobian.reshape(inputs.shape[0], -1) for jacobian in jax.tree.leaves(jacobians)]  # `[N, K p]`
    return sum((jnp.einsum("ip,jp->ij", row, row) for row in rows), jnp.zeros((inputs.shape[0],) * 2))


def _distance(tree: Tree | Array, first: Tree | Array) -> Array:
    """||tree - first|| / ||first||, `[]`."""

    def norm(tree: Tree | Array) -> Array:
        return jnp.sqrt(sum((jnp.square(leaf).sum() for leaf in jax.tree.leaves(tree)), jnp.zeros(())))

    return norm(jax.tree.map(jnp.subtract, tree, first)) / norm(first)


# --- the detector ----------------------------------------------------------------------------------------


def detect(run: RunView) -> TangentKernel:
    """The numbers of the table `tangent_kernel`. Raises InvalidValue where the last ones are not finite."""
    table = run.tables[TABLE]
    refuse_non_numeric(table, COLUMNS)
    changes = table[list(COLUMNS)].to_numpy(float)
    changes = changes[np.isfinite(changes).all(1)]
    if not len(changes):
        raise InvalidValue("no change is finite: the first weights, or their kernel, are 0")
    return TangentKernel(*map(float, changes[-1]))


# --- the figure ------------------------------------------------------------------------------------------


def changes(runs: Sequence[RunView]) -> Figure:
    """Both changes over training; a panel a run."""
    return plotting.panel_per_result(runs, _draw_changes, height=3.4, sharey=True)[0]


def _draw_changes(ax: Axes, run: RunView) -> str:
    result, table = detect(run), run.tables[TABLE]
    for column, label in (("weight_change", "weights"), ("kernel_change", "tangent kernel")):
        ax.plot(table["step"], table[column], ".-", markersize=3, label=label)
    ax.set_ylabel("distance from the start, over its norm")
    plotting.step_axis(ax, table["step"].tolist())
    plotting.legend(ax)
    weights, kernel = (plotting.scientific(100 * change) for change in result)
    return f"{run.label}: the weights move by {weights} %, their kernel by {kernel} %"
