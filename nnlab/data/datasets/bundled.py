"""Real data that comes with scikit-learn, and MNIST-1D, which the package mnist1d generates."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import random
import zipfile
import zlib
from collections.abc import Mapping
from importlib import metadata
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le, Lt

from nnlab.data.examples import Examples, Source, as_float32, classification_examples, regression_examples
from nnlab.errors import NnlabError
from nnlab.registry import register
from nnlab.system import files
from nnlab.system.device import cache_folder


@register("dataset")
def digits(images: bool = False) -> Source:
    """Handwritten digits: 1,797 images of 8 x 8 pixels from 0 to 16, in 10 classes.

    Args:
        images: Whether inputs are `[N, 8, 8]`, for convolutions, and not `[N, 64]`.

    Reference:
        The test set of Alpaydin & Kaynak's optical recognition data (UCI), from scikit-learn.
    """
    return _from_sklearn("load_digits", "images" if images else "data")


@register("dataset")
def breast_cancer() -> Source:
    """Wisconsin breast cancer: 569 tumours, malignant (0) or benign (1), by 30 features of cell nuclei.

    Reference:
        Wolberg, Street & Mangasarian 1995 (UCI), from scikit-learn.
    """
    return _from_sklearn("load_breast_cancer")


@register("dataset")
def wine() -> Source:
    """Wines: 178 of 3 cultivars, by 13 chemical measures.

    Reference:
        Wine (UCI), from scikit-learn.
    """
    return _from_sklearn("load_wine")


@register("dataset")
def diabetes() -> Source:
    """Diabetes: 10 features of 442 patients, and a measure of progression after a year.

    A regression (loss: squared_error, one output). The targets, 25 to 346, are not scaled.

    Reference:
        Efron et al. 2004, Least angle regression, from scikit-learn.
    """
    return _from_sklearn("load_diabetes")


@register("dataset")
def mnist1d(
    examples: Annotated[int, Ge(10), Le(10**7)] = 5000, seed: Annotated[int, Ge(0), Lt(2**32)] = 42
) -> Source:
    """MNIST-1D: signals of 40 points in 10 classes, 20 % of them for test.

    5,000 examples of seed 42 are the published set (4,000 and 1,000), in float32 as its authors train on it.

    Args:
        examples: Training and test examples together, 10 to 10^7.
        seed: Of the generator; the data do not depend on the run's seed.

    Reference:
        Greydanus & Kobak 2020, Scaling down deep learning with MNIST-1D.
    """

    def load(_: int) -> tuple[Examples, Examples | None]:
        raw = _load_mnist1d(examples, seed)
        train = classification_examples(as_float32(raw["x"]), raw["y"], 10)
        return train, classification_examples(as_float32(raw["x_test"]), raw["y_test"], 10)

    return Source(load)


def _from_sklearn(loader: str, inputs: str = "data") -> Source:
    def load(_: int) -> tuple[Examples, None]:
        import sklearn.datasets

        bunch = getattr(sklearn.datasets, loader)()
        class_names = getattr(bunch, "target_names", None)
        if class_names is None:
            return regression_examples(bunch[inputs], bunch.target), None
        return classification_examples(bunch[inputs], bunch.target, len(class_names)), None

    return Source(load)


@functools.lru_cache(maxsize=2)
def _load_mnist1d(examples: int, seed: int) -> Mapping[str, np.ndarray]:
    """The arrays of the package's generator, which takes 0.7 ms an example; kept in the cache folder."""
    version = metadata.version("mnist1d")
    file = cache_folder() / "data" / f"mnist1d-{version}-{examples}-{seed}.npz"
    try:
        with np.load(file, allow_pickle=False) as archive:  # checksums in the archive reveal damage
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        arrays = _generate_mnist1d(examples, seed)
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    with contextlib.suppress(NnlabError):  # where nothing can be written, it is generated anew each time
        files.make_folder(file.parent, linked=True)
        files.write_atomically(file, content.getvalue())
    return arrays


def _generate_mnist1d(examples: int, seed: int) -> dict[str, np.ndarray]:
    """Run the generator, which seeds the global generators of Python and NumPy; their states are restored."""
    os.environ.setdefault("MPLBACKEND", "Agg")  # the package imports pyplot, which may look for a display
    from mnist1d.data import get_dataset_args, make_dataset

    arguments = get_dataset_args()
    arguments.num_samples, arguments.seed = examples, seed
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        arrays = make_dataset(arguments)
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
    return {name: np.asarray(arrays[name]) for name in ("x", "y", "x_test", "y_test")}
