"""Density estimation: how probable a generative model finds examples, beside independent bits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.config.split_roles import reported_split
from nnlab.data.inputs import blocks_of
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import BOUND_OF_LIKELIHOOD, NEGATIVE_LOG_LIKELIHOOD, Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon, refuse_non_numeric
from nnlab.phenomena.examples import recorded_split
from nnlab.phenomena.probe import Probe, Snapshot
from nnlab.system.imports import Array, jnp
from nnlab.text import name_in_words

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

LEAST_GAIN = 1.0  # nats an example, from which on the bits are said to depend on each other
PRIOR_EXAMPLES = 0.5  # of a 0 and of a 1 each, beside those counted (Krichevsky & Trofimov 1981)
COLUMNS = ("log_likelihood", "independent")

Verdict = Literal["dependence", "none"]


class DensityEstimation(NamedTuple):
    """Log-likelihoods in nats an example, at the end.

    Attributes:
        log_likelihood: Of the test examples (else validation, else train), or a lower bound of it, where that
            is what the model makes large.
        independent: Of the same examples if their bits were independent, each 1 as often as in training.
        gain: log_likelihood - independent.
        train_log_likelihood: log_likelihood of the training examples.
        verdict: See `density_estimation`.
    """

    log_likelihood: float
    independent: float
    gain: float
    train_log_likelihood: float
    verdict: Verdict


@phenomenon
def density_estimation() -> RunPhenomenon:
    """How probable does a generative model find examples that it has not seen?

    For a layer whose loss is the likelihood, such as `rbm`, or a bound of it, such as `vae` of likelihood
    bernoulli, and inputs that are bits. It is compared with bits that know nothing of each other: p_i is the
    share of ones among the training examples, with half an example of each kind added.

    Verdicts:
        dependence: The model gains 1 nat an example or more; it has learnt how the bits depend on each other.
        none: It gains less.
    """
    return RunPhenomenon(
        probes=(
            Probe(
                "log_likelihoods",
                lambda setup, data: {"split": _shown_splits(data.splits)},
                COLUMNS,
                _log_likelihoods,
                passes=lambda data: sum(len(data.splits[split]) for split in _shown_splits(data.splits)),
                evaluates_all_examples=True,
            ),
        ),
        result=DensityEstimation,
        detect=lambda run: detect(run.tables["log_likelihoods"]),
        figures={"density_estimation": likelihood_over_training},
        validate=_check,
    )


def _check(setup: Setup, data: Data) -> None:
    """Refuse other losses than likelihoods, and other inputs than bits. Raises InvalidValue."""
    *_, last = setup.children.values()
    if last.own_loss not in (NEGATIVE_LOG_LIKELIHOOD, BOUND_OF_LIKELIHOOD):
        found = f"that of {last.type} is {last.own_loss}" if last.own_loss else f"{last.type} computes none"
        needed = "a last layer whose loss is the likelihood of bits"
        raise InvalidValue(f"density_estimation needs {needed}; {found}")
    if not all(bool(np.isin(block, (0, 1)).all()) for block in blocks_of(data.train.inputs)):
        raise InvalidValue("density_estimation needs inputs 0 or 1; give data normalize: binarize")


def _shown_splits(names: Iterable[str]) -> list[str]:
    """The training split, and the one that is reported."""
    return list(dict.fromkeys(["train", reported_split(names)]))


def _log_likelihoods(setup: Setup, snapshot: Snapshot) -> tuple[Array, Array]:
    train = snapshot.examples["train"].inputs
    bits = train.reshape(train.shape[0], -1)
    ones = (bits.sum(0) + PRIOR_EXAMPLES) / (bits.shape[0] + 2 * PRIOR_EXAMPLES)
    of_model, of_shares = [], []
    for split in _shown_splits(snapshot.examples):
        inputs = snapshot.examples[split].inputs
        of_model.append(-snapshot.outputs(inputs).mean())
        shares = inputs.reshape(inputs.shape[0], -1).mean(0)
        of_shares.append((shares * jnp.log(ones) + (1.0 - shares) * jnp.log1p(-ones)).sum())
    return jnp.stack(of_model), jnp.stack(of_shares)


def detect(table: pandas.DataFrame) -> DensityEstimation:
    """The numbers of the table `log_likelihoods`. Raises InvalidValue where one is not finite."""
    refuse_non_numeric(table, ("step", *COLUMNS))
    last = table[table["step"] == table["step"].max()]
    if last.empty or not np.isfinite(last[list(COLUMNS)].to_numpy(float)).all():
        raise InvalidValue("a log-likelihood is not finite")
    found, independent = (float(last[column].iloc[-1]) for column in COLUMNS)
    gain = found - independent
    return DensityEstimation(
        log_likelihood=found,
        independent=independent,
        gain=gain,
        train_log_likelihood=float(last[COLUMNS[0]].iloc[0]),
        verdict="dependence" if gain >= LEAST_GAIN else "none",
    )


def likelihood_over_training(runs: Sequence[RunView]) -> Figure:
    """Log-likelihood over the training, of training examples dashed; all runs on one axes.

    The thin line is that of independent bits.
    """
    figure, axes = plotting.panels(1, 1, 3.6 + 0.15 * len(runs))
    ax, steps = axes[0, 0], []
    for run, colour in zip(runs, plotting.colours(len(runs)), strict=True):
        table = run.tables["log_likelihoods"]
        numbers, split = detect(table), recorded_split(table)
        for name in dict.fromkeys(("train", split)):
            rows = table[table["split"] == name]
            label = f"{run.label}: {numbers.log_likelihood:.1f} nats" if name == split else None
            style = "-" if name == split else "--"
            ax.plot(rows["step"], rows["log_likelihood"], color=colour, linestyle=style, label=label)
            steps += list(rows["step"])
        ax.axhline(numbers.independent, color=colour, linewidth=0.8)
        ax.set_ylabel(f"{name_in_words(split)} log-likelihood, nats an example")
    plotting.step_axis(ax, steps)
    plotting.figure_title(figure, "Log-likelihood; training dashed, independent bits as a thin line")
    plotting.legend_below(figure, ax, columns=1)
    return figure
