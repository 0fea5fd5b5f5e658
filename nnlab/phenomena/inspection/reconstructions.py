"""Reconstructions: what an autoencoder gives back, beside what principal components give back.

A linear autoencoder of k units can at best match the first k principal components, and does so.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.config.split_roles import reported_split
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon
from nnlab.phenomena.examples import (
    displayed,
    image_shape,
    images_in,
    map_in_blocks,
    pixel_rows,
    recorded_split,
    refuse_tiny_images,
    value_range,
)
from nnlab.phenomena.probe import Probe, RowLabels, Snapshot
from nnlab.registry import Count, NonNegative
from nnlab.system.imports import Array, jax, jnp
from nnlab.text import name_in_words

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

MAXIMUM_FEATURES = 4096  # of the covariance matrix
MAXIMUM_EXAMPLES = 10  # of a figure
CAPTION_CHARACTERS = 14  # in a line
CAPTIONS = {"input": "input", "noisy": "noisy", "reconstruction": "net", "pca": "components"}
IMAGE_COLUMNS = tuple(CAPTIONS)
ERROR_COLUMNS = ("error", "pca_error", "noisy_error", "denoised_error")


class Reconstructions(NamedTuple):
    """Mean squared errors per value, 0 or more, of the test examples (else validation, else train).

    The numbers of components are null if no layer is narrower than the inputs, those of noise are null
    without noise.

    Attributes:
        error: Of the reconstruction.
        pca_error: Of the projection on as many principal components of the training inputs as the narrowest
            layer has values.
        over_pca: error / pca_error; null also if pca_error is 0.
        train_error: The error of the training examples.
        train_pca_error: The pca_error of the training examples.
        train_over_pca: train_error / train_pca_error; null also if train_pca_error is 0.
        noisy_error: Of the noisy inputs themselves.
        denoised_error: Of their reconstruction, against the inputs without noise.
        noise_removed: 1 - denoised_error / noisy_error, at most 1; negative where the net adds to the error.
        reason: Why numbers are null.
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
    reason: str | None = None


@phenomenon
def reconstructions(noise: NonNegative = 0.0, examples: Count = 8) -> RunPhenomenon:
    """How well does an autoencoder give its inputs back, for data with `reconstruct: true`?

    Its error is compared with that of principal components; a linear autoencoder reaches theirs.

    Args:
        noise: Standard deviation, 0 or more, of Gaussian noise that is added to the inputs, in their units.
        examples: Number of examples, the first ones, that are kept as images.

    Reference:
        Bourlard & Kamp 1988; Baldi & Hornik 1989 (linear autoencoders). Vincent et al. 2008 (denoising).
    """

    def image_rows(setup: Setup, data: Data) -> RowLabels:
        split = reported_split(data.splits)
        shown = range(min(examples, len(data.splits[split])))
        return pixel_rows(image_shape(data.train.inputs.shape[1:]), split=[split], example=shown)

    def measure_images(setup: Setup, snapshot: Snapshot) -> tuple[Array, ...]:
        split = reported_split(snapshot.examples)
        inputs = snapshot.examples[split].inputs[:examples]
        noisy = _noisy_inputs(snapshot, split, noise)[:examples]
        projected = _pca_projection(snapshot, narrowest_width(setup))(_flatten(noisy))
        images = (inputs, noisy, snapshot.target_values(noisy), projected)
        return tuple(values.reshape(-1) for values in images)

    def measure_errors(setup: Setup, snapshot: Snapshot) -> tuple[Array, ...]:
        project = _pca_projection(snapshot, narrowest_width(setup))
        splits = _error_splits(snapshot.examples)
        by_split = [_errors(snapshot, split, project, noise) for split in splits]
        return tuple(jnp.stack(column) for column in zip(*by_split, strict=True))

    def validate(setup: Setup, data: Data) -> None:
        _check_data(data)
        image_rows(setup, data)

    return RunPhenomenon(
        probes=(
            Probe("reconstructions", image_rows, IMAGE_COLUMNS, measure_images, record_at="end"),
            Probe("reconstruction_errors", _error_rows, ERROR_COLUMNS, measure_errors, record_at="end"),
        ),
        result=Reconstructions,
        detect=lambda run: detect(run.tables["reconstruction_errors"]),
        figures={"reconstructions": reconstruction_gallery},
        validate=validate,
    )


def _check_data(data: Data) -> None:
    """Raises InvalidValue if the targets are not the inputs."""
    inputs, targets = np.asarray(data.train.inputs).reshape(len(data.train), -1), data.train.targets
    if data.train.classes or targets.shape != inputs.shape or not np.array_equal(inputs, targets):
        raise InvalidValue("reconstructions needs targets that are the inputs; give data reconstruct: true")
    if inputs.shape[1] > MAXIMUM_FEATURES:
        raise InvalidValue(
            f"reconstructions compares with principal components of {MAXIMUM_FEATURES:,} values at most, and "
            f"an example has {inputs.shape[1]:,}; leave it out here"
        )


def narrowest_width(setup: Setup) -> int:
    """The size of the narrowest layer, in values per example."""
    return min(math.prod(leaf.output_shape) for _, leaf in setup.leaves())


def _error_splits(names: Iterable[str]) -> list[str]:
    """The training split, and the one that is reported."""
    return list(dict.fromkeys(["train", reported_split(names)]))


def _error_rows(setup: Setup, data: Data) -> RowLabels:
    splits, values = _error_splits(data.splits), math.prod(data.train.inputs.shape[1:])
    components = min(narrowest_width(setup), values)
    return {
        "split": splits,
        "components": [components] * len(splits),
        "values": [values] * len(splits),
    }


def _flatten(inputs: Array) -> Array:
    return inputs.reshape(inputs.shape[0], -1)


def _pca_projection(snapshot: Snapshot, components: int) -> Callable[[Array], Array]:
    """The function from `[N, D]` to its projection on principal components of the training inputs."""
    inputs = _flatten(snapshot.examples["train"].inputs)
    mean = inputs.mean(0, keepdims=True)
    covariance = (inputs - mean).T @ (inputs - mean) / inputs.shape[0]
    _, directions = jnp.linalg.eigh(covariance)  # ascending
    principal = directions[:, -components:]
    return lambda values: mean + (values - mean) @ principal @ principal.T


def _noisy_inputs(snapshot: Snapshot, split: str, noise: float) -> Array:
    inputs = snapshot.examples[split].inputs
    if noise == 0.0:
        return inputs
    key = jax.random.fold_in(snapshot.key, list(snapshot.examples).index(split))
    return inputs + noise * jax.random.normal(key, inputs.shape, inputs.dtype)


def _errors(
    snapshot: Snapshot, split: str, project: Callable[[Array], Array], noise: float
) -> tuple[Array, ...]:
    """The columns ERROR_COLUMNS of a split, `[]` each; the last two are NaN without noise."""
    inputs = snapshot.examples[split].inputs
    clean = _flatten(inputs)

    def mean_squared_error(values: Array) -> Array:
        return jnp.square(values - clean).mean()

    error = mean_squared_error(map_in_blocks(snapshot.target_values, inputs))
    pca_error = mean_squared_error(project(clean))
    if noise == 0.0:
        return error, pca_error, jnp.full((), jnp.nan), jnp.full((), jnp.nan)
    noisy = _noisy_inputs(snapshot, split, noise)
    noisy_error = mean_squared_error(_flatten(noisy))
    return error, pca_error, noisy_error, mean_squared_error(map_in_blocks(snapshot.target_values, noisy))


def detect(table: pandas.DataFrame) -> Reconstructions:
    """The numbers of the table `reconstruction_errors`."""
    train, reported = table.iloc[0], table.iloc[-1]
    noisy, denoised = float(reported["noisy_error"]), float(reported["denoised_error"])
    noise_numbers = (noisy, denoised, 1 - denoised / noisy) if noisy > 0 else (None, None, None)
    numbers = Reconstructions(*_pca_numbers(reported), *_pca_numbers(train), *noise_numbers)
    reasons = [] if noisy > 0 else ["there is no noise"]
    if numbers.pca_error is None:
        reasons.insert(0, "no layer is narrower than the inputs")
    elif None in (numbers.over_pca, numbers.train_over_pca):
        reasons.insert(0, "the principal components leave no error")
    return numbers._replace(reason="; ".join(reasons) or None)


def _pca_numbers(row: pandas.Series) -> tuple[float, float | None, float | None]:
    """error, pca_error and over_pca; the last is None if the components leave no error."""
    error, pca_error = float(row["error"]), float(row["pca_error"])
    if row["components"] >= row["values"]:
        return error, None, None
    return error, pca_error, error / pca_error if pca_error > 0 else None


def reconstruction_gallery(runs: Sequence[RunView]) -> Figure:
    """Some examples, with noise if there is any, and their reconstructions by net and principal components.

    The components are shown if they are fewer than the inputs. Several runs have their rows one below the
    other; black and white are the least and the greatest input.
    """
    columns = min(MAXIMUM_EXAMPLES, *(run.tables["reconstructions"]["example"].nunique() for run in runs))
    rows: dict[str, list[np.ndarray]] = {}
    for run in runs:
        label = textwrap.fill(run.label, CAPTION_CHARACTERS) + "\n" if len(runs) > 1 else ""
        for column in _shown_columns(detect(run.tables["reconstruction_errors"])):
            images = images_in(run.tables["reconstructions"], column)[:columns]
            refuse_tiny_images(images)
            rows[label + CAPTIONS[column]] = [displayed(image) for image in images]
    inputs = np.concatenate([run.tables["reconstructions"]["input"].to_numpy(float) for run in runs])
    examples = [f"example {number}" for number in range(columns)]
    figure = plotting.image_grid(rows, examples, value_range(inputs))
    plotting.figure_title(figure, "\n".join(map(_finding, runs)))
    return figure


def _shown_columns(numbers: Reconstructions) -> list[str]:
    is_left_out = {"noisy": numbers.noisy_error is None, "pca": numbers.pca_error is None}
    return [column for column in IMAGE_COLUMNS if not is_left_out.get(column)]


def _finding(run: RunView) -> str:
    table = run.tables["reconstruction_errors"]
    numbers = detect(table)
    finding = (
        f"{run.label}: {name_in_words(recorded_split(table))} error {plotting.scientific(numbers.error)}"
    )
    if numbers.pca_error is not None:
        components, error = table["components"].iloc[-1], plotting.scientific(numbers.pca_error)
        finding += f", of {components} principal components {error}"
    if numbers.noise_removed is not None:
        finding += f", {100 * numbers.noise_removed:.0f} % of the noise removed"
    return finding
