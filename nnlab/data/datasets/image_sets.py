"""Images that the field measures itself by: MNIST, Fashion-MNIST, CIFAR-10; placed by hand or fetched."""

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
from nnlab.data.datasets.resize import Side, with_size
from nnlab.data.datasets.tabular import at_most, existing, idx_file, idx_pair
from nnlab.data.examples import Examples, Source, classification_examples
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
    """Handwritten digits: 60,000 grey images of 28 x 28 pixels, 10,000 for test; 10 classes.

    Inputs are `[N, 28, 28]`, bytes divided by 255 (LeCun et al. 1998). path: a folder with the four IDX
    files, gzipped or not; null is `data/mnist` in the cache folder, into which what it lacks is fetched.
    size: resizes to so many pixels a side, as for `idx`; LeCun et al. 1989 have 16.
    """
    return _fetched("mnist", path, size, _has_idx, _read_idx_folder)


@register("dataset")
def fashion_mnist(path: str | None = None, size: Side | None = None) -> Source:
    """Clothes: 60,000 grey images of 28 x 28 pixels, 10,000 for test; 10 classes.

    T-shirt or top (0), trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle boot (9). Inputs
    are `[N, 28, 28]`, bytes divided by 255 (Xiao, Rasul & Vollgraf 2017). path: a folder with the four IDX
    files, gzipped or not; null is `data/fashion_mnist` in the cache folder, into which what it lacks is
    fetched. size: resizes to so many pixels a side, as for `idx`.
    """
    return _fetched("fashion_mnist", path, size, _has_idx, _read_idx_folder)


@register("dataset")
def cifar10(path: str | None = None, size: Side | None = None) -> Source:
    """Small photographs: 50,000 of 32 x 32 pixels in colour, 10,000 for test; 10 classes.

    Airplane (0), automobile, bird, cat, deer, dog, frog, horse, ship, truck (9). Inputs are `[N, 32, 32, 3]`,
    bytes divided by 255 (Krizhevsky 2009). path: a folder with the binary version, `cifar-10-binary.tar.gz`
    or its six `.bin` files; null is `data/cifar10` in the cache folder, into which the archive is fetched
    where it is missing. size: resizes to so many pixels a side, as for `idx`.
    """
    return _fetched("cifar10", path, size, _has_cifar, _read_cifar)


def _fetched(
    name: str,
    path: str | None,
    size: int | None,
    has: Callable[[Path, str], bool],
    read: Callable[[Path], tuple[Examples, Examples]],
) -> Source:
    """A published data set. has: whether a folder holds what a published file does; read: training and test
    examples of a folder."""

    def load(_: int) -> tuple[Examples, Examples]:
        published = PUBLISHED[name]
        folder = existing(path) if path is not None else cache_folder() / "data" / name
        missing = [file for file in published.files if not has(folder, file)]
        if path is not None and missing:
            raise InvalidValue(f"'{path}' is no folder that holds {join_words(missing, 'and')}", ("path",))
        if missing:
            fetch(published, missing, folder)
        try:
            train, test = read(folder)
        except InvalidValue as error:
            again = "" if path is not None else "; remove that file, and it is fetched anew"
            raise InvalidValue(f"{error}{again}", error.at) from None
        return with_size(train, size), with_size(test, size)

    return Source(load)


def _has_idx(folder: Path, file: str) -> bool:
    return folder.is_dir() and idx_file(folder, file.partition("-idx")[0]) is not None


def _read_idx_folder(folder: Path) -> tuple[Examples, Examples]:
    parts = []
    for stem in ("train", "t10k"):
        part = idx_pair(folder, stem)
        if part is None or part.inputs.shape[1:] != (28, 28) or part.classes > 10:
            file = idx_file(folder, f"{stem}-images")
            raise InvalidValue(f"'{file}' holds no images of 28 x 28 pixels and 10 classes", ("path",))
        parts.append(replace(part, classes=10))
    return parts[0], parts[1]


RECORD = 1 + 3 * 32 * 32  # bytes: the label, the red pixels row by row, the green, the blue ones
BATCH = 10_000  # records of a file
BATCHES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
UNPACKED = "cifar-10-batches-bin"  # the folder that the archive unpacks to


def _has_cifar(folder: Path, archive: str) -> bool:
    return _batch_folder(folder) is not None or (folder / archive).is_file()


def _batch_folder(folder: Path) -> Path | None:
    places = (folder, folder / UNPACKED)
    return next((place for place in places if all((place / name).is_file() for name in BATCHES)), None)


def _read_cifar(folder: Path) -> tuple[Examples, Examples]:
    place = _batch_folder(folder)
    try:
        if place is None:
            place = folder / CIFAR10
            batches = _read_archive(place)
        else:
            batches = {}
            for name in BATCHES:
                with (place / name).open("rb") as stream:
                    batches[name] = _batch(stream)
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        raise InvalidValue(f"'{place}' cannot be read: {error}", ("path",)) from None
    parts = []
    for names in (BATCHES[:-1], BATCHES[-1:]):
        for name in names:
            _check_batch(batches.get(name), f"'{place}': {name}")
        parts.append(_cifar_examples(b"".join(batches[name] for name in names)))
    return parts[0], parts[1]


def _read_archive(archive: Path) -> dict[str, bytes]:
    """The batches by name, out of the archive's plain files; nothing is unpacked to the disk."""
    found = {}
    with gzip.open(archive) as plain:
        with tarfile.open(fileobj=plain, mode="r:") as members:
            for member in members:
                folder, _, name = member.name.rpartition("/")
                if name in BATCHES and folder in ("", UNPACKED) and member.isreg():
                    stream = members.extractfile(member)
                    found[name] = _batch(stream) if stream else b""
        while plain.read(2**20):  # to the end, where the checksum is
            pass
    return found


def _batch(stream: IO[bytes]) -> bytes:
    return at_most(stream, BATCH * RECORD + 1)


def _check_batch(content: bytes | None, place: str) -> None:
    if content is None:
        raise InvalidValue(f"{place} is not there as a plain file", ("path",))
    if not content or len(content) % RECORD or len(content) > BATCH * RECORD:
        raise InvalidValue(f"{place} is not of 1 to {BATCH:,} records of {RECORD:,} bytes", ("path",))
    largest = max(content[::RECORD])
    if largest > 9:
        raise InvalidValue(f"{place} holds the label {largest}; classes are 0 to 9", ("path",))


def _cifar_examples(content: bytes) -> Examples:
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    planes = records[:, 1:].reshape(-1, 3, 32, 32)
    pixels = np.empty((len(records), 32, 32, 3), np.float32)
    np.divide(planes.transpose(0, 2, 3, 1), np.float32(255), out=pixels)
    return classification_examples(pixels, records[:, 0], 10)
