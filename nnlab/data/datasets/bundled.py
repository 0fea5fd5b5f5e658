"""Real data that comes with scikit-learn, and MNIST-1D, which a package generates."""

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

from nnlab.data.examples import Examples, Source, classification_examples, regression_examples
from nnlab.errors import NnlabError
from nnlab.registry import register
from nnlab.system import files
from nnlab.system.device import cache_folder


@register("dataset")
def digits(images: bool = False) -> Source:
    """Handwritten digits: 1,797 images of 8 x 8 pixels (0 to 16), as 64 features; 10 classes.

    images: inputs are `[N, 8, 8]`, for convolutions. From scikit-learn; the test set of Alpaydin & Kaynak's
    optical recognition data (UCI).
    """
    return _from_sklearn("load_digits", "images" if images else "data")


@register("dataset")
def breast_cancer() -> Source:
    """Wisconsin breast cancer: 569 tumours, 30 features of cell nuclei; malignant (0) or benign (1)."""
    return _from_sklearn("load_breast_cancer")


@register("dataset")
def wine() -> Source:
    """178 wines, 13 chemical measures, 3 cultivars (UCI)."""
    return _from_sklearn("load_wine")


@register("dataset")
def diabetes() -> Source:
    """442 patients, 10 features, a measure of progression after a year (Efron et al. 2004).

    A regression (loss: squared_error, one output); the targets, 25 to 346, are not scaled."""
    return _from_sklearn("load_diabetes")


@register("dataset")
def mnist1d(
    examples: Annotated[int, Ge(10), Le(10**7)] = 5000, seed: Annotated[int, Ge(0), Lt(2**32)] = 42
) -> Source:
    """MNIST-1D: signals of 40 points, 10 classes (Greydanus & Kobak 2020); 80 % train, 20 % test.

    seed: of the generator; 5,000 examples of seed 42 are the published set (4,000 and 1,000).
    """

    def load(_: int) -> tuple[Examples, Examples | None]:
        raw = _generated_mnist1d(examples, seed)
        return classification_examples(raw["x"], raw["y"], 10), classification_examples(
            raw["x_test"], raw["y_test"], 10
        )

    return Source(load)


def _from_sklearn(loader: str, inputs: str = "data") -> Source:
    def load(_: int) -> tuple[Examples, None]:
        import sklearn.datasets

        bunch = getattr(sklearn.datasets, loader)()
        names = getattr(bunch, "target_names", None)
        if names is None:
            return regression_examples(bunch[inputs], bunch.target), None
        return classification_examples(bunch[inputs], bunch.target, len(names)), None

    return Source(load)


@functools.lru_cache(maxsize=2)
def _generated_mnist1d(examples: int, seed: int) -> Mapping[str, np.ndarray]:
    """The package's own generator, 0.7 ms an example, what it made being kept in the cache folder."""
    version = metadata.version("mnist1d")
    file = cache_folder() / "data" / f"mnist1d-{version}-{examples}-{seed}.npz"
    try:
        with np.load(file, allow_pickle=False) as archive:  # its checksums tell a damaged file
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        made = _made_mnist1d(examples, seed)
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **made)
    with contextlib.suppress(NnlabError):  # where nothing can be kept, it is made anew each time
        files.make_folder(file.parent, linked=True)
        files.write_atomically(file, content.getvalue())
    return made


def _made_mnist1d(examples: int, seed: int) -> dict[str, np.ndarray]:
    """The generator seeds Python's and NumPy's global ones, which are put back."""
    os.environ.setdefault("MPLBACKEND", "Agg")  # the package imports pyplot, which may look for a display
    from mnist1d.data import get_dataset_args, make_dataset

    arguments = get_dataset_args()
    arguments.num_samples, arguments.seed = examples, seed
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        made = make_dataset(arguments)
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
    return {name: np.asarray(made[name]) for name in ("x", "y", "x_test", "y_test")}
