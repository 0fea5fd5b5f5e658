"""The edge of stability: the sharpness of the loss rises until steps are only just stable, and stays there.

Sharpness is the greatest eigenvalue of the Hessian H of the training loss or, for an optimizer that divides
by P, of P^-1/2 H P^-1/2. In shapes, K stands for the eigenvalues that are recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Le

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, loss_label, phenomenon, refuse_non_numeric
from nnlab.phenomena.curvature import greatest_eigenvalues, hessian_product
from nnlab.phenomena.probe import GRADIENT_PASSES, HESSIAN_PRODUCT_PASSES, Batch, Probe, RowLabels, Snapshot
from nnlab.registry import Count
from nnlab.system.imports import Array, jax, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TABLE, COLUMNS = "curvature", ("eigenvalue", "threshold")
EDGE = (0.95, 1.05)  # of sharpness over threshold
LAST_SHARE = 1 / 3  # of the measurements, over which the median is taken
MINIMUM_MEASUREMENTS = 6

Verdict = Literal["edge", "below", "above"]
Iterations = Annotated[int, Ge(1), Le(1000)]


class EdgeOfStability(NamedTuple):
    """Sharpness over the optimizer's threshold of stability, from measurement to measurement.

    Attributes:
        ratio: Median of sharpness / threshold over the last third of the measurements; null where the
            optimizer's threshold is not known, or there are fewer than six measurements.
        first_ratio: The ratio at the first measurement; null where the threshold is not known.
        peak_ratio: The greatest ratio; null likewise.
        crossing_step: The first measured step at which the ratio is 1 or more; null where there is none.
        peak_sharpness: The greatest sharpness.
        loss_rises: Share of the stretches between two measurements over which the training loss rises; null
            where there is but one measurement.
        verdict: `edge`, `below` or `above`, see `edge_of_stability`; null where the ratio is.
        reason: Why numbers are null.
    """

    ratio: float | None
    first_ratio: float | None
    peak_ratio: float | None
    crossing_step: int | None
    peak_sharpness: float
    loss_rises: float | None
    verdict: Verdict | None
    reason: str | None = None


@phenomenon
def edge_of_stability(
    split: Literal["train", "validation", "test"] = "train",
    examples: Count | None = None,
    every: Count = 1,
    eigenvalues: Count = 1,
    iterations: Iterations = 20,
    preconditioned: bool = True,
) -> RunPhenomenon:
    """Does the sharpness rise to where steps are only just stable, and stay there?

    Sharpness is the greatest eigenvalue of the Hessian H of what the step minimizes: the mean loss over the
    examples with its penalties (regularizers are part of it, decoupled weight decay is not), in training
    mode, with batch normalization over these examples. For an optimizer that divides by P, such as Adam, it
    is that of P^-1/2 H P^-1/2. The threshold is the optimizer's own at the learning rate of the step:
    2 / rate for gradient descent, RMSProp and AdaGrad, 2 (1 + momentum) / rate with heavy ball's momentum,
    2 (1 + momentum) / ((1 + 2 momentum) rate) with Nesterov's, 2 (1 + b1) / ((1 - b1) rate) for Adam, that is
    38 / rate. For sam around sgd it is lower, the more so the smaller the gradient is. Of other optimizers,
    and where gradients are clipped, no threshold is known. What it says holds for full batches; the noise of
    small ones keeps the sharpness lower.

    Verdicts:
        edge: The median of sharpness / threshold over the last third of the measurements is from 0.95 to
            1.05; the ratio reached 1 before, at or after its least value until then, since at the first step
            of Adam it is anywhere; and it has also been outside these bounds: the curvature of a quadratic
            loss, which never changes, is no edge.
        below: Anything else with a median below 1.
        above: Anything else.

    Args:
        split: The examples that the loss is taken of.
        examples: So many of them, the first ones; null is all, in one batch.
        every: Of how many records it measures one.
        eigenvalues: How many of the greatest eigenvalues are recorded.
        iterations: Of Lanczos' method, each a product of H with a vector, about two gradients' work.
        preconditioned: False leaves P out, and with it the threshold of an optimizer that has one.

    Reference:
        Cohen, Kaur, Li, Kolter & Talwalkar 2021, "Gradient descent on neural networks typically occurs at the
        edge of stability"; for Adam Cohen et al. 2022, "Adaptive gradient methods at the edge of stability";
        for sam Long & Bartlett 2024, "Sharpness-aware minimization and the edge of stability".
    """
    if eigenvalues > iterations:
        message = f"{eigenvalues} eigenvalues take as many iterations, and there are {iterations}"
        raise InvalidValue(message, ("eigenvalues",))

    probe = _curvature_probe(split, examples, eigenvalues, iterations, preconditioned)
    return RunPhenomenon(
        probes=(probe._replace(every=every),),
        result=EdgeOfStability,
        detect=detect,
        figures={"edge_of_stability": sharpness_and_loss},
        validate=probe.rows,
    )


# --- the probe -------------------------------------------------------------------------------------------


def _curvature_probe(
    split: str, examples: int | None, eigenvalues: int, iterations: int, preconditioned: bool
) -> Probe:
    """Measures the table `curvature`; the parameters are those of `edge_of_stability`."""

    def rows(setup: Setup, data: Data) -> RowLabels:
        if split not in data.splits:
            raise InvalidValue(f"edge_of_stability: there is no {split} split; leave 'split' out")
        return {"rank": list(range(1, eigenvalues + 1))}

    def measure(setup: Setup, snapshot: Snapshot) -> tuple[Array, ...]:
        chosen = snapshot.examples[split]
        batch = Batch(chosen.inputs[:examples], chosen.targets[:examples])
        return _greatest_and_threshold(snapshot, batch, eigenvalues, iterations, preconditioned)

    def passes(data: Data) -> float:
        count = len(data.splits[split])
        derivatives = iterations * (HESSIAN_PRODUCT_PASSES - GRADIENT_PASSES)
        return (GRADIENT_PASSES + derivatives) * min(count, examples or count)

    return Probe(TABLE, rows, COLUMNS, measure, passes=passes, evaluates_all_examples=True)


def _greatest_and_threshold(
    snapshot: Snapshot, batch: Batch, count: int, iterations: int, preconditioned: bool
) -> tuple[Array, Array]:
    """The greatest eigenvalues and the threshold of stability, `[K]` each."""
    step = snapshot.step
    assert step is not None  # noqa: S101 - records are of a step
    threshold, scales = step.stability()
    if scales is not None and not preconditioned:
        threshold = jnp.full((), jnp.nan)
        scales = jax.tree.map(lambda scale: jnp.where(jnp.isinf(scale), scale, 1.0), scales)
    multiply, size = hessian_product(lambda params: step.objective(params, batch), snapshot.params, scales)
    found = greatest_eigenvalues(multiply, size, count, iterations, snapshot.key)
    return found, jnp.broadcast_to(threshold, found.shape)


# --- the detector ----------------------------------------------------------------------------------------


def detect(run: RunView) -> EdgeOfStability:
    """The numbers of the tables `curvature` and `metrics`. Raises InvalidValue, see `read_sharpness`."""
    measured = read_sharpness(run)
    peak, rises = float(measured["eigenvalue"].max()), _share_of_rises(measured["loss"].to_numpy(float))
    ratios = (measured["eigenvalue"] / measured["threshold"]).to_numpy(float)
    if not np.isfinite(ratios).all():
        reason = "no threshold of stability is known of this optimizer, with these keys and this rate"
        return EdgeOfStability(None, None, None, None, peak, rises, None, reason)
    crossed = measured["step"][ratios >= 1]
    few = len(ratios) < MINIMUM_MEASUREMENTS
    before, last = np.split(ratios, [-round(LAST_SHARE * len(ratios))])
    ratio = None if few else float(np.median(last))
    return EdgeOfStability(
        ratio=ratio,
        first_ratio=float(ratios[0]),
        peak_ratio=float(ratios.max()),
        crossing_step=int(crossed.iloc[0]) if len(crossed) else None,
        peak_sharpness=peak,
        loss_rises=rises,
        verdict=None if ratio is None else _verdict(ratio, before, ratios),
        reason="; ".join(
            [f"the sharpness is measured fewer than {MINIMUM_MEASUREMENTS} times"] * few
            + ["the sharpness never reaches the threshold"] * (not len(crossed))
            + ["a single measurement has no stretch"] * (rises is None)
        )
        or None,
    )


def read_sharpness(run: RunView) -> pandas.DataFrame:
    """Step, greatest eigenvalue, threshold and training loss of each measurement, up to where the sharpness
    is not finite. Raises InvalidValue where none is."""
    table = run.tables[TABLE]
    refuse_non_numeric(table, ("step", "rank", *COLUMNS))
    first = table[table["rank"] == 1]
    finite = np.isfinite(first["eigenvalue"].to_numpy(float))
    first = first[finite.cumprod().astype(bool)]
    if first.empty:
        raise InvalidValue("no sharpness is finite")
    losses = run.tables["metrics"][["step", "train_loss"]].rename(columns={"train_loss": "loss"})
    return first.merge(losses, on="step", how="left")


def _share_of_rises(losses: np.ndarray) -> float | None:
    """Of the stretches between measurements, how many end at a higher loss than they begin at."""
    return float((losses[1:] > losses[:-1]).mean()) if len(losses) > 1 else None


def _verdict(ratio: float, before: np.ndarray, ratios: np.ndarray) -> Verdict:
    low, high = EDGE
    was_elsewhere = ((ratios < low) | (ratios > high)).any()
    has_risen = before[before.argmin() :].max() >= 1
    at_edge = low <= ratio <= high and has_risen and was_elsewhere
    return "edge" if at_edge else "below" if ratio < 1 else "above"


# --- the figure ------------------------------------------------------------------------------------------


def sharpness_and_loss(runs: Sequence[RunView]) -> Figure:
    """The sharpness with the threshold, and the training loss below it; a column a run, two in a row."""
    across = min(plotting.PANELS_ACROSS, len(runs))
    rows = -(-len(runs) // across)
    figure, grid = plotting.panels(2 * rows, across, 5.8 * rows, height_ratios=[2.0, 1.8] * rows)
    for number, run in enumerate(runs):
        row, column = divmod(number, across)
        result, (above, below) = detect(run), grid[2 * row : 2 * row + 2, column]
        _draw_sharpness(above, run)
        _draw_loss(below, run)
        above.set_xlim(below.get_xlim())
        above.set_title(plotting.title(f"{run.label}: {_outcome(result)}", across))
        rises = result.loss_rises or 0.0
        below.set_title(plotting.title(f"its loss rises over {100 * rises:.0f} % of the stretches", across))
    for ax in grid[-2:, len(runs) - across * (rows - 1) :].flat:
        ax.remove()
    plotting.legend_below(figure, grid[0, 0])
    return figure


def _outcome(result: EdgeOfStability) -> str:
    """A panel's title."""
    if result.ratio is None or result.verdict is None:
        return f"the sharpness comes to {plotting.scientific(result.peak_sharpness)}"
    words = {"edge": "at the edge of stability", "below": "below the edge", "above": "above the edge"}
    return f"{words[result.verdict]}, the sharpness ends at {result.ratio:.3g} of the threshold"


def _draw_sharpness(ax: Axes, run: RunView) -> None:
    table, measured = run.tables[TABLE], read_sharpness(run)
    for rank, others in table[table["rank"] > 1].groupby("rank"):
        label = "next eigenvalues" if rank == 2 else None
        ax.plot(others["step"], others["eigenvalue"], color="#999999", linewidth=0.8, label=label)
    steps, sharpness, label = measured["step"], measured["eigenvalue"], "threshold of stability"
    ax.plot(steps, measured["threshold"], "--", color="#000000", linewidth=1.2, label=label)
    label = "greatest eigenvalue"
    ax.plot(steps, sharpness, ".-", color=plotting.COLOURS[0], markersize=3, label=label)
    plotting.log_if_wide(ax, [*sharpness, *measured["threshold"]])
    ax.set_ylabel("sharpness")
    plotting.step_axis(ax, steps.tolist())


def _draw_loss(ax: Axes, run: RunView) -> None:
    metrics = run.tables["metrics"]
    ax.plot(metrics["step"], metrics["train_loss"], color=plotting.SPLIT_COLOURS["train"])
    plotting.log_if_wide(ax, metrics["train_loss"].tolist())
    ax.set_ylabel(loss_label([run], "training"))
    plotting.step_axis(ax, metrics["step"].tolist())
