"""The benchmark image sets MNIST, Fashion-MNIST and CIFAR-10, placed by hand or fetched."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from nnlab.data.datasets.fetch import Published, fetch
from nnlab.data.datasets.idx import find_idx_files, read_idx_pair
from nnlab.data.datasets.local_files import existing_path, read_at_most
from nnlab.data.datasets.resize import Side, resize_examples
from nnlab.data.examples import Examples, Source, classification_examples
from nnlab.data.inputs import divided_by_255
from nnlab.errors import InvalidValue
from nnlab.registry import register
from nnlab.system.device import cache_folder
from nnlab.text import join_words

CIFAR10 = "cifar-10-binary.tar.gz"

PUBLISHED = {
    "mnist": Published(
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        {
            "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
    ),
    "fashion_mnist": Published(
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),  # it has no https
        {
            "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
    ),
    "cifar10": Published(
        ("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/"),
        {CIFAR10: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
    ),
}


@register("dataset")
def mnist(path: str | None = None, size: Side | None = None) -> Source:
    """MNIST: grey images of handwritten digits, 60,000 for training and 10,000 for test, in 10 classes.

    Inputs are `[N, 28, 28]`, bytes divided by 255.

    Args:
        path: A folder with the four IDX files, as for `idx`. null is `data/mnist` in the cache folder, into
            which missing files are fetched.
        size: The side in pixels, 1 to 4096, that images are resized to, as for `idx`; LeCun et al. 1989 have
            16. null keeps 28.

    Reference:
        LeCun et al. 1998, Gradient-based learning applied to document recognition.
    """
    return _published_source("mnist", path, size, _contains_idx, _read_idx_folder)


@register("dataset")
def fashion_mnist(path: str | None = None, size: Side | None = None) -> Source:
    """Fashion-MNIST: grey images of clothes, 60,000 for training and 10,000 for test, in 10 classes.

    The classes are T-shirt or top (0), trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle
    boot (9). Inputs are `[N, 28, 28]`, bytes divided by 255.

    Args:
        path: A folder with the four IDX files, as for `idx`. null is `data/fashion_mnist` in the cache
            folder, into which missing files are fetched.
        size: The side in pixels, 1 to 4096, that images are resized to, as for `idx`. null keeps 28.

    Reference:
        Xiao, Rasul & Vollgraf 2017, Fashion-MNIST: a novel image dataset for benchmarking.
    """
    return _published_source("fashion_mnist", path, size, _contains_idx, _read_idx_folder)


@register("dataset")
def cifar10(path: str | None = None, size: Side | None = None) -> Source:
    """CIFAR-10: small colour photographs, 50,000 for training and 10,000 for test, in 10 classes.

    The classes are airplane (0), automobile, bird, cat, deer, dog, frog, horse, ship, truck (9). Inputs are
    `[N, 32, 32, 3]`, bytes divided by 255.

    Args:
        path: A folder with the binary version: `cifar-10-binary.tar.gz`, or its six `.bin` files. null is
            `data/cifar10` in the cache folder, into which the archive is fetched where it is missing.
        size: The side in pixels, 1 to 4096, that images are resized to, as for `idx`. null keeps 32.

    Reference:
        Krizhevsky 2009, Learning multiple layers of features from tiny images.
    """
    return _published_source("cifar10", path, size, _contains_cifar10, _read_cifar10)


def _published_source(
    name: str,
    path: str | None,
    size: int | None,
    contains: Callable[[Path, str], bool],
    read: Callable[[Path], tuple[Examples, Examples]],
) -> Source:
    """A published data set.

    contains: Whether a folder contains a published file, packed or not.
    read: Training and test examples of a folder.
    """

    def load(_: int) -> tuple[Examples, Examples]:
        published = PUBLISHED[name]
        folder = existing_path(path) if path is not None else cache_folder() / "data" / name
        missing = [file for file in published.files if not contains(folder, file)]
        if path is not None and missing:
            raise InvalidValue(f"'{path}' is no folder that holds {join_words(missing, 'and')}", ("path",))
        if missing:
            fetch(published, missing, folder)
        try:
            train, test = read(folder)
        except InvalidValue as error:
            hint = "" if path is not None else "; remove that file, and it is fetched anew"
            raise InvalidValue(f"{error}{hint}", error.at) from None
        return resize_examples(train, size), resize_examples(test, size)

    return Source(load)


def _contains_idx(folder: Path, file: str) -> bool:
    return folder.is_dir() and file.partition("-idx")[0] in find_idx_files(folder).get("", {})


def _read_idx_folder(folder: Path) -> tuple[Examples, Examples]:
    parts, found = [], find_idx_files(folder)[""]
    for stem in ("train", "t10k"):
        part = read_idx_pair(found, stem)
        if part is None or part.inputs.shape[1:] != (28, 28) or part.classes > 10:
            file = found[f"{stem}-images"]
            raise InvalidValue(f"'{file}' holds no images of 28 x 28 pixels and 10 classes", ("path",))
        parts.append(replace(part, classes=10))
    return parts[0], parts[1]


RECORD_BYTES = 1 + 3 * 32 * 32  # the label, the red pixels row by row, the green, the blue ones
BATCH_RECORDS = 10_000  # in a file, at most
BATCHES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
UNPACKED = "cifar-10-batches-bin"  # the folder that the archive unpacks to


def _contains_cifar10(folder: Path, archive: str) -> bool:
    return _batch_folder(folder) is not None or (folder / archive).is_file()


def _batch_folder(folder: Path) -> Path | None:
    """The folder, of the two that may, which contains all batches."""
    candidates = (folder, folder / UNPACKED)
    return next((each for each in candidates if all((each / name).is_file() for name in BATCHES)), None)


def _read_cifar10(folder: Path) -> tuple[Examples, Examples]:
    location = _batch_folder(folder)
    try:
        if location is None:
            location = folder / CIFAR10
            batches = _read_archive(location)
        else:
            batches = {}
            for name in BATCHES:
                with (location / name).open("rb") as stream:
                    batches[name] = _read_batch(stream)
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        raise InvalidValue(f"'{location}' cannot be read: {error}", ("path",)) from None
    parts = []
    for names in (BATCHES[:-1], BATCHES[-1:]):
        for name in names:
            _check_batch(batches.get(name), f"'{location}': {name}")
        parts.append(_cifar10_examples(b"".join(batches[name] for name in names)))
    return parts[0], parts[1]


def _read_archive(archive: Path) -> dict[str, bytes]:
    """The batches by name, from regular files in the archive; nothing is unpacked to the disk."""
    batches = {}
    with gzip.open(archive) as plain:
        with tarfile.open(fileobj=plain, mode="r:") as members:
            for member in members:
                folder, _, name = member.name.rpartition("/")
                if name in BATCHES and folder in ("", UNPACKED) and member.isreg():
                    stream = members.extractfile(member)
                    batches[name] = _read_batch(stream) if stream else b""
        while plain.read(2**20):  # to the end, where the checksum is
            pass
    return batches


def _read_batch(stream: IO[bytes]) -> bytes:
    return read_at_most(stream, BATCH_RECORDS * RECORD_BYTES + 1)


def _check_batch(content: bytes | None, name: str) -> None:
    if content is None:
        raise InvalidValue(f"{name} is not there as a plain file", ("path",))
    if not content or len(content) % RECORD_BYTES or len(content) > BATCH_RECORDS * RECORD_BYTES:
        raise InvalidValue(
            f"{name} is not of 1 to {BATCH_RECORDS:,} records of {RECORD_BYTES:,} bytes", ("path",)
        )
    largest = max(content[::RECORD_BYTES])
    if largest > 9:
        raise InvalidValue(f"{name} holds the label {largest}; classes are 0 to 9", ("path",))


def _cifar10_examples(content: bytes) -> Examples:
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD_BYTES)
    planes = records[:, 1:].reshape(-1, 3, 32, 32)
    pixels = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
    return classification_examples(divided_by_255(pixels), records[:, 0], 10)
