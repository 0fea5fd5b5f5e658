"""Data sets from IDX files."""

from __future__ import annotations

import contextlib
import gzip
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from nnlab.data.datasets.local_files import blame_path, existing_path, read_at_most
from nnlab.data.datasets.resize import Side, resize_examples
from nnlab.data.examples import Examples, Loaded, Source, align_classes, classification_examples
from nnlab.data.file_rows import ArrayFile, FileRows, is_too_large
from nnlab.data.inputs import divided_by_255
from nnlab.errors import InvalidValue
from nnlab.registry import register
from nnlab.text import join_words

IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
IDX_NAME = re.compile(
    r"(?P<prefix>([^.].*-)?)(?P<part>train|t10k|test)-(?P<kind>images|labels)[-.]idx\d-ubyte(\.gz)?"
)


@register("dataset")
def idx(path: str, size: Side | None = None) -> Source:
    """A folder of IDX files, the format of MNIST and its relatives.

    The folder holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and, for a test set, the same with
    `t10k` or `test`; also with a dot before `idx`, gzipped with `.gz` at the end, or each in a folder of its
    own name, as in Kaggle's MNIST. All names may have the same beginning, as EMNIST's
    `emnist-letters-train-images-idx3-ubyte.gz`, where the folder holds no other set. Inputs are `[N, H, W]`,
    bytes divided by 255, rows and columns as in the file: in EMNIST's they have changed places. Images that
    are too large for memory, in a file that is not gzipped, stay there and are read as they are needed.

    Args:
        path: The folder; a relative path starts at the working directory.
        size: The side in pixels, 1 to 4096, that images are resized to, bilinearly between the pixels'
            centres and without averaging first, as PyTorch's `interpolate` does. null keeps their size.
    """

    def load(_: int) -> Loaded:
        folder = existing_path(path)
        if not folder.is_dir():
            raise InvalidValue(f"'{path}' is no folder; name the one that holds the IDX files", ("path",))
        sets = find_idx_files(folder)
        if "" not in sets and len(sets) > 1:
            names = join_words([f"{prefix}..." for prefix in sets], "and")
            message = f"'{path}' holds several sets, {names}; put the files of one into a folder of their own"
            raise InvalidValue(message, ("path",))
        chosen = min(sets, default="")  # the one without a prefix, if there is one
        found = sets.get(chosen, {})
        size_bytes = sum(file.stat().st_size for name, file in found.items() if name.endswith("images"))
        train, test = (read_idx_pair(found, stem, is_too_large(size_bytes)) for stem in ("train", "t10k"))
        if train is None:
            raise InvalidValue(
                f"'{path}' holds no train-images and train-labels IDX files (such as "
                f"train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz){_place_below(folder)}",
                ("path",),
            )
        train, test = (train, None) if test is None else align_classes(train, test)
        others = [f"{prefix}..." for prefix in sets if prefix != chosen]
        notes = (f"'{path}': not used: {join_words(others, 'and')}",) if others else ()
        return Loaded(resize_examples(train, size), test and resize_examples(test, size), notes=notes)

    return Source(load)


def read_idx_pair(files: Mapping[str, Path], stem: str, from_file: bool = False) -> Examples | None:
    """The examples of the IDX files `<stem>-images` and `<stem>-labels`, as `find_idx_files` names them.

    Args:
        files: By name.
        stem: `train` or `t10k`.
        from_file: Whether images stay in their file, where it is not compressed.

    Returns:
        None where both files are missing.

    Raises:
        InvalidValue: One is missing or damaged, or they are not images and their labels.
    """
    images, labels = files.get(f"{stem}-images"), files.get(f"{stem}-labels")
    if images is None and labels is None:
        return None
    if images is None or labels is None:
        missing = "labels" if labels is None else "images"
        raise InvalidValue(f"'{images or labels}' has no IDX file of {missing} beside it", ("path",))
    numbers = _read_idx(labels)
    pixels = _rows_of_idx(images) if from_file and images.suffix != ".gz" else _read_idx(images)
    if numbers.ndim != 1 or pixels.ndim < 2 or numbers.dtype.kind not in "iu":
        raise InvalidValue(f"'{labels}' holds no list of labels for the images of '{images}'", ("path",))
    inputs = divided_by_255(pixels) if pixels.dtype == np.uint8 else pixels
    return blame_path(classification_examples, inputs, numbers)


def find_idx_files(folder: Path) -> dict[str, dict[str, Path]]:
    """The IDX files of a folder, by what their names begin with, then by `train-images`, `train-labels`,
    `t10k-images` or `t10k-labels`; of two for the same the plain one, and the one in the folder itself.

    Raises:
        InvalidValue: A folder cannot be read.
    """
    sets: dict[str, dict[str, Path]] = {}
    try:
        entries = sorted(entry for entry in folder.iterdir() if IDX_NAME.fullmatch(entry.name))
        below = [file for entry in entries if entry.is_dir() for file in sorted(entry.iterdir())]
        for file in [*entries, *below]:
            name = IDX_NAME.fullmatch(file.name)
            if name is not None and file.is_file():
                part = "train" if name["part"] == "train" else "t10k"
                sets.setdefault(name["prefix"], {}).setdefault(f"{part}-{name['kind']}", file)
    except OSError as error:
        raise InvalidValue(f"'{error.filename}' cannot be read: {error.strerror}", ("path",)) from None
    return sets


def _place_below(folder: Path) -> str:
    """`; 'MNIST/raw' does`, where a folder one or two below holds IDX files."""
    for pattern in ("*/", "*/*/"):
        for below in sorted(folder.glob(pattern)):
            with contextlib.suppress(InvalidValue):
                if find_idx_files(below):
                    return f"; '{below}' does"
    return ""


def _read_idx(file: Path) -> np.ndarray:
    """The array of an IDX file."""
    with _reading(file), gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
        shape, dtype = _read_header(stream, file)
        size = math.prod(shape) * dtype.itemsize
        content = read_at_most(stream, size + 1)
        _check_size(file, shape, size, len(content))
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _rows_of_idx(file: Path) -> FileRows:
    """The rows of an IDX file that is not compressed, which stay there."""
    with _reading(file), file.open("rb") as stream:
        shape, dtype = _read_header(stream, file)
        array = ArrayFile.of(file, stream.tell(), shape, dtype)
        _check_size(file, shape, math.prod(shape) * dtype.itemsize, file.stat().st_size - stream.tell())
    return FileRows.of(array)


def _read_header(stream: IO[bytes] | gzip.GzipFile, file: Path) -> tuple[tuple[int, ...], np.dtype]:
    """The shape and type of an IDX file: two zero bytes, a type byte, the number of axes, their lengths; the
    values follow. Raises InvalidValue."""
    zeros, kind, axes = stream.read(2), stream.read(1), stream.read(1)
    if zeros != b"\0\0" or not kind or kind[0] not in IDX_TYPES or not axes:
        raise InvalidValue(f"'{file}' is no IDX file: its first bytes are not 0, 0, a type", ("path",))
    header = stream.read(4 * axes[0])
    shape = tuple(int(n) for n in np.frombuffer(header[: len(header) // 4 * 4], ">u4"))
    if len(shape) != axes[0]:
        raise InvalidValue(f"'{file}' is cut off in its header", ("path",))
    return shape, np.dtype(IDX_TYPES[kind[0]])


def _check_size(file: Path, shape: tuple[int, ...], size: int, content_size: int) -> None:
    """Refuse a file whose values are more or fewer than its header says. Raises InvalidValue."""
    if content_size != size:
        raise InvalidValue(
            f"'{file}' is cut off or too long: its header {list(shape)} asks for {size} bytes", ("path",)
        )


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[None]:
    """What goes wrong with a file, in a line. Raises InvalidValue."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidValue(f"'{file}' cannot be read: {error}", ("path",)) from None
