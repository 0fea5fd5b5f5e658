"""Reconstructions: what an autoencoder gives back, beside what principal components give back.

A linear autoencoder of k units can do no better than the first k principal components, and reaches them
(Bourlard & Kamp 1988; Baldi & Hornik 1989). Denoising: Vincent et al. 2008.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon
from nnlab.phenomena.examples import (
    check_drawable,
    drawable,
    in_blocks,
    judged,
    limits,
    picture_shape,
    pictures,
    pixel_rows,
    split_of,
)
from nnlab.phenomena.probe import Probe, Snapshot
from nnlab.registry import Count, NonNegative
from nnlab.system.imports import Array, jax, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

MOST_FEATURES = 4096  # of the covariance matrix
MOST_SHOWN = 10
CAPTION = 14  # characters
SHOWN = ("input", "noisy", "reconstruction", "pca")
WORDS = {"input": "input", "noisy": "noisy", "reconstruction": "net", "pca": "components"}
ERRORS = ("error", "pca_error", "noisy_error", "denoised_error")


class Reconstructions(NamedTuple):
    """Mean squared errors per value, of the test examples (else validation, else train), train_... of the
    training examples. error: of the reconstruction. pca_error: of the projection on as many principal
    components of the training inputs as the narrowest layer has values. over_pca: error / pca_error. The four
    of components are null where no layer is narrower than the inputs. noisy_error: of the noisy inputs
    themselves. denoised_error: of their reconstruction, against the inputs without noise. noise_removed:
    1 - denoised_error / noisy_error. The three are null without noise.
    """

    error: float
    pca_error: float | None
    over_pca: float | None
    train_error: float
    train_pca_error: float | None
    train_over_pca: float | None
    noisy_error: float | None
    denoised_error: float | None
    noise_removed: float | None


@phenomenon
def reconstructions(noise: NonNegative = 0.0, examples: Count = 8) -> RunPhenomenon:
    """Inputs and what an autoencoder makes of them, for data with `reconstruct: true`.

    noise: standard deviation of Gaussian noise that is added to the inputs. examples: so many are kept as
    pictures, the first ones.
    """

    def shown(setup: Setup, data: Data) -> dict[str, list[Any]]:
        split = judged(data.splits)
        count = min(examples, len(data.splits[split]))
        return pixel_rows(picture_shape(data.train.inputs.shape[1:]), split=[split], example=range(count))

    def pixels(setup: Setup, snapshot: Snapshot) -> tuple[Array, ...]:
        split = judged(snapshot.examples)
        inputs = snapshot.examples[split].inputs[:examples]
        noisy = _with_noise(snapshot, split, noise)[:examples]
        projected = _projection(snapshot, narrowest(setup))(_flat(noisy))
        found = (inputs, noisy, snapshot.outputs(noisy), projected)
        return tuple(part.reshape(-1) for part in found)

    def errors(setup: Setup, snapshot: Snapshot) -> tuple[Array, ...]:
        projected = _projection(snapshot, narrowest(setup))
        parts = [_errors(snapshot, split, projected, noise) for split in _splits(snapshot.examples)]
        return tuple(jnp.stack(column) for column in zip(*parts, strict=True))

    def check(setup: Setup, data: Data) -> None:
        _check(data)
        shown(setup, data)

    return RunPhenomenon(
        probes=(
            Probe("reconstructions", shown, SHOWN, pixels, record_at="end"),
            Probe("reconstruction_errors", _error_rows, ERRORS, errors, record_at="end"),
        ),
        result=Reconstructions,
        detect=lambda run: summarize(run.tables["reconstruction_errors"]),
        figures={"reconstructions": reconstruction_pictures},
        validate=check,
    )


def _check(data: Data) -> None:
    """Raises InvalidValue where the targets are not the inputs."""
    inputs, targets = data.train.inputs.reshape(len(data.train), -1), data.train.targets
    if data.train.classes or targets.shape != inputs.shape or not np.array_equal(inputs, targets):
        raise InvalidValue("reconstructions needs targets that are the inputs; give data reconstruct: true")
    if inputs.shape[1] > MOST_FEATURES:
        raise InvalidValue(
            f"reconstructions compares with principal components of {MOST_FEATURES:,} values at most, and an "
            f"example has {inputs.shape[1]:,}; leave it out here"
        )


def narrowest(setup: Setup) -> int:
    """The least number of values that an example is between two layers."""
    return min(math.prod(leaf.output_shape) for _, leaf in setup.leaves())


def _splits(names: Any) -> list[str]:
    """The training split, and the one that is looked at."""
    return list(dict.fromkeys(["train", judged(names)]))


def _error_rows(setup: Setup, data: Data) -> dict[str, list[Any]]:
    splits, values = _splits(data.splits), math.prod(data.train.inputs.shape[1:])
    components = min(narrowest(setup), values)
    return {
        "split": splits,
        "components": [components] * len(splits),
        "values": [values] * len(splits),
    }


def _flat(inputs: Array) -> Array:
    return inputs.reshape(inputs.shape[0], -1)


def _projection(snapshot: Snapshot, components: int) -> Any:
    """The function from `[N, D]` to its projection on principal components of the training inputs."""
    inputs = _flat(snapshot.examples["train"].inputs)
    mean = inputs.mean(0, keepdims=True)
    covariance = (inputs - mean).T @ (inputs - mean) / inputs.shape[0]
    _, directions = jnp.linalg.eigh(covariance)
    kept = directions[:, -components:]
    return lambda values: mean + (values - mean) @ kept @ kept.T


def _with_noise(snapshot: Snapshot, split: str, noise: float) -> Array:
    inputs = snapshot.examples[split].inputs
    if noise == 0.0:
        return inputs
    key = jax.random.fold_in(snapshot.key, list(snapshot.examples).index(split))
    return inputs + noise * jax.random.normal(key, inputs.shape, inputs.dtype)


def _errors(snapshot: Snapshot, split: str, projected: Any, noise: float) -> tuple[Array, ...]:
    """See ERRORS; the last two are NaN without noise."""
    inputs = snapshot.examples[split].inputs
    clean = _flat(inputs)

    def away(values: Array) -> Array:
        return jnp.square(values - clean).mean()

    known = (away(in_blocks(snapshot.outputs, inputs)), away(projected(clean)))
    if noise == 0.0:
        return (*known, jnp.full((), jnp.nan), jnp.full((), jnp.nan))
    noisy = _with_noise(snapshot, split, noise)
    return (*known, away(_flat(noisy)), away(in_blocks(snapshot.outputs, noisy)))


def summarize(table: pandas.DataFrame) -> Reconstructions:
    """The numbers of the table `reconstruction_errors`."""
    train, last = table.iloc[0], table.iloc[-1]
    noisy, denoised = float(last["noisy_error"]), float(last["denoised_error"])
    of_noise = (noisy, denoised, 1 - denoised / noisy) if noisy > 0 else (None, None, None)
    return Reconstructions(*_beside_pca(last), *_beside_pca(train), *of_noise)


def _beside_pca(row: pandas.Series) -> tuple[float, float | None, float | None]:
    """error, pca_error and over_pca; the last is null where the components leave nothing over."""
    error, pca = float(row["error"]), float(row["pca_error"])
    if row["components"] >= row["values"]:
        return error, None, None
    return error, pca, error / pca if pca > 0 else None


def reconstruction_pictures(runs: Sequence[RunView]) -> Figure:
    """Some examples, with noise where there is some, and what net and principal components give back, these
    where they are fewer than the inputs; the rows of runs below each other, in the greys of the inputs."""
    columns = min(MOST_SHOWN, *(run.tables["reconstructions"]["example"].nunique() for run in runs))
    rows: dict[str, list[np.ndarray]] = {}
    for run in runs:
        for kind in _kinds(summarize(run.tables["reconstruction_errors"])):
            shown = pictures(run.tables["reconstructions"], kind)[:columns]
            check_drawable(shown)
            of = textwrap.fill(run.label, CAPTION) + "\n" if len(runs) > 1 else ""
            rows[of + WORDS[kind]] = [drawable(picture) for picture in shown]
    inputs = np.concatenate([run.tables["reconstructions"]["input"].to_numpy(float) for run in runs])
    examples = [f"example {number}" for number in range(columns)]
    figure = plotting.image_grid(rows, examples, limits(inputs))
    figure.suptitle("\n".join(map(_in_words, runs)))
    return figure


def _kinds(found: Reconstructions) -> list[str]:
    left_out = {"noisy": found.noisy_error is None, "pca": found.pca_error is None}
    return [kind for kind in SHOWN if not left_out.get(kind)]


def _in_words(run: RunView) -> str:
    table = run.tables["reconstruction_errors"]
    found = summarize(table)
    words = f"{run.label}: {split_of(table)} error {plotting.scientific(found.error)}"
    if found.pca_error is not None:
        words += (
            f", of {table['components'].iloc[-1]} principal components {plotting.scientific(found.pca_error)}"
        )
    if found.noise_removed is not None:
        words += f", {100 * found.noise_removed:.0f} % of the noise removed"
    return words
