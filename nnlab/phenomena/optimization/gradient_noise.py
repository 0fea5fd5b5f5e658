"""The noise of the gradient: how much the gradients of single examples differ from their mean.

With `g_i` the gradient of example i's loss, and `G` the mean over the N training examples:

    noise = 1/N sum_i |g_i - G|^2 = tr(Sigma)        noise scale = tr(Sigma) / |G|^2

A batch of B examples has the gradient G and, on average, noise of the squared length tr(Sigma) / B beside it.
So the noise scale is the batch size at which noise and gradient are equally long: far below it a step is
mostly noise, and far above it more examples make the step hardly better.
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
from nnlab.optim.parameter_groups import layer_of
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon
from nnlab.phenomena.probe import GRADIENT_PASSES, Probe, RowLabels, Snapshot
from nnlab.registry import Count
from nnlab.system.imports import Array, jax, jnp
from nnlab.text import join_words

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TABLE = "gradient_noise"
NO_GRADIENT = "the gradient is 0, or not to be told from 0 by so few examples"
EXAMPLES_AT_ONCE = 64  # whose gradients are in memory together


class GradientNoise(NamedTuple):
    """Noise scales, in examples.

    Attributes:
        noise_scale: Median over the records; from 0. A record whose gradient cannot be told from 0 beside its
            noise counts as infinite; null where half of them are that.
        first_noise_scale: At step 0; null where there the gradient is 0, or cannot be told from 0.
        last_noise_scale: At the last record; null likewise.
        growth: last_noise_scale / first_noise_scale; null where one of them is null or the first is 0.
        reason: Why numbers are null.
    """

    noise_scale: float | None
    first_noise_scale: float | None
    last_noise_scale: float | None
    growth: float | None
    reason: str | None = None


@phenomenon
def gradient_noise(examples: Count = 1000, every: Count = 1) -> RunPhenomenon:
    """How noisy is the gradient of one example? At the noise scale tr(Sigma) / |G|^2, a batch is half noise.

    The gradients are those of the loss alone, in evaluation mode, by all weights that are trained.

    Args:
        examples: At most so many training examples, the first ones. Where there are more, the numbers are
            estimates for all of them, without bias in tr(Sigma) and |G|^2.
        every: Of how many records it measures one; each costs two gradients of all these examples.

    Reference:
        McCandlish et al. 2018, equation 2.9; lecture 002 (one example, a minibatch or all of them).
    """

    def measure(setup: Setup, snapshot: Snapshot) -> tuple[Array, Array]:
        square, noise = square_and_noise(snapshot, examples)
        return square[None], noise[None]

    return RunPhenomenon(
        probes=(
            Probe(
                TABLE,
                _one_row,
                ("gradient_square", "noise"),
                measure,
                every=every,
                passes=lambda data: 2.0 * GRADIENT_PASSES * min(len(data.train), examples),
                evaluates_all_examples=True,
            ),
        ),
        result=GradientNoise,
        detect=lambda run: detect(run.tables[TABLE]),
        figures={"gradient_noise": noise_over_training},
        validate=_validate,
    )


def _validate(setup: Setup, data: Data) -> None:
    if len(data.train) < 2:
        raise InvalidValue("gradient_noise compares the gradients of training examples; there is one alone")


def _one_row(setup: Setup, data: Data) -> RowLabels:
    return {"split": ["train"]}


def square_and_noise(snapshot: Snapshot, examples: int) -> tuple[Array, Array]:
    """|G|^2 and tr(Sigma) of all training examples, from the first ones of them, `[]` each."""
    inputs, targets = snapshot.examples["train"]
    total, count = len(targets), min(len(targets), examples)

    inputs, targets = inputs[:count], targets[:count]

    def mean_loss(params: Tree, inputs: Array, targets: Array) -> Array:
        return snapshot.loss.per_example(snapshot.evaluate(params, inputs).value, targets).mean()

    def square(inputs: Array, targets: Array) -> Array:
        gradient = jax.grad(mean_loss)(snapshot.params, inputs, targets)
        parts = jax.tree_util.tree_leaves_with_path(gradient)
        trained = [part for path, part in parts if not snapshot.frozen(layer_of(path))]
        return jnp.stack([jnp.vdot(part, part) for part in trained]).sum()

    def square_of_one(example: tuple[Array, Array]) -> Array:
        return square(*(part[None] for part in example))

    singles = jax.lax.map(square_of_one, (inputs, targets), batch_size=EXAMPLES_AT_ONCE)
    mean_square = square(inputs, targets)
    spread = (singles.mean() - mean_square) * count / (count - 1)  # of a sample, without bias
    return mean_square - spread * (1 / count - 1 / total), spread * (total - 1) / total


def detect(table: pandas.DataFrame) -> GradientNoise:
    """The numbers of the table `gradient_noise`. Raises InvalidValue where every gradient is 0."""
    scales = noise_scales(table)
    if not np.isfinite(scales).any():
        raise InvalidValue(f"at every record {NO_GRADIENT}")
    median = float(np.nanmedian(scales))
    first, last = (float(scale) if np.isfinite(scale) else None for scale in (scales[0], scales[-1]))
    lacking = [name for name, scale in (("step 0", first), ("the last record", last)) if scale is None]
    reasons = [f"at {join_words(lacking, 'and')} {NO_GRADIENT}"] if lacking else []
    if math.isinf(median):
        reasons.append(f"at half of the records {NO_GRADIENT}")
    if first == 0:
        reasons.append("at step 0 all examples have the same gradient")
    return GradientNoise(
        noise_scale=median if math.isfinite(median) else None,
        first_noise_scale=first,
        last_noise_scale=last,
        growth=last / first if first and last is not None else None,
        reason="; ".join(reasons) or None,
    )


def noise_scales(table: pandas.DataFrame) -> np.ndarray:
    """The noise scale at each record, `[records]`, in examples; infinite where there is noise alone, NaN
    where there is neither gradient nor noise."""
    square, noise = (table[name].to_numpy(float) for name in ("gradient_square", "noise"))
    without = np.where(noise > 0, np.inf, np.nan)
    return np.divide(np.maximum(noise, 0.0), square, out=without, where=square > 0)


def noise_over_training(runs: Sequence[RunView]) -> Figure:
    """Squared length of the gradient, and of the noise that one example has beside it; one panel a run."""

    def draw(ax: Axes, run: RunView) -> str:
        table = run.tables[TABLE]
        for column, label, style, colour in (
            ("noise", "noise of one example, tr Σ", "-", plotting.COLOURS[4]),
            ("gradient_square", "gradient, |G|²", "--", plotting.COLOURS[0]),
        ):
            values = table[column].where(table[column] > 0)
            ax.plot(table["step"], values, style, marker="o", markersize=3, color=colour, label=label)
        plotting.step_axis(ax, table["step"].tolist())
        plotting.log_axis(ax)
        ax.set_ylabel("squared length (log scale)")
        return f"{run.label}: {_finding(detect(table))}"

    figure, axes = plotting.panel_per_result(runs, draw, sharey=True)
    plotting.legend_below(figure, axes[0])
    return figure


def _finding(numbers: GradientNoise) -> str:
    if numbers.noise_scale is None:
        return NO_GRADIENT
    if numbers.growth is None:
        return f"a batch of {plotting.scientific(numbers.noise_scale)} is half noise, in the median"
    sizes = [
        plotting.scientific(scale or 0.0) for scale in (numbers.first_noise_scale, numbers.last_noise_scale)
    ]
    return f"a batch is half noise with {sizes[0]} examples at first, with {sizes[1]} in the end"
