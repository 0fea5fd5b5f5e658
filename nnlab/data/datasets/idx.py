"""Data sets from IDX files."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path

import numpy as np

from nnlab.data.datasets.local_files import blame_path, existing_path, read_at_most
from nnlab.data.datasets.resize import Side, resize_examples
from nnlab.data.examples import Examples, Source, align_classes, classification_examples
from nnlab.errors import InvalidValue
from nnlab.registry import register

IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


@register("dataset")
def idx(path: str, size: Side | None = None) -> Source:
    """A folder of IDX files, the format of MNIST and its relatives.

    The folder holds `train-images-...`, `train-labels-...` and, for a test set, `t10k-images-...` and
    `t10k-labels-...`, gzipped or not. Inputs are `[N, H, W]`, bytes divided by 255.

    Args:
        path: The folder; a relative path starts at the working directory.
        size: The side in pixels, 1 to 4096, that images are resized to, bilinearly between the pixels'
            centres and without averaging first, as PyTorch's `interpolate` does. null keeps their size.
    """

    def load(_: int) -> tuple[Examples, Examples | None]:
        folder = existing_path(path)
        if not folder.is_dir():
            raise InvalidValue(f"'{path}' is no folder; name the one that holds the IDX files", ("path",))
        train = read_idx_pair(folder, "train")
        if train is None:
            raise InvalidValue(
                f"'{path}' holds no train-images and train-labels IDX files (such as "
                "train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz)",
                ("path",),
            )
        test = read_idx_pair(folder, "t10k")
        train, test = (train, None) if test is None else align_classes(train, test)
        return resize_examples(train, size), test and resize_examples(test, size)

    return Source(load)


def read_idx_pair(folder: Path, stem: str) -> Examples | None:
    """The examples of the IDX files `<stem>-images` and `<stem>-labels` of a folder.

    Returns:
        None where the folder lacks one of the files.

    Raises:
        InvalidValue: A file is damaged, or they are not images and their labels.
    """
    images, labels = find_idx_file(folder, f"{stem}-images"), find_idx_file(folder, f"{stem}-labels")
    if images is None or labels is None:
        return None
    pixels, numbers = _read_idx(images), _read_idx(labels)
    if numbers.ndim != 1 or pixels.ndim < 2 or numbers.dtype.kind not in "iu":
        raise InvalidValue(f"'{labels}' holds no list of labels for the images of '{images}'", ("path",))
    scale = 255.0 if pixels.dtype == np.uint8 else 1.0
    return blame_path(classification_examples, pixels / np.float32(scale), numbers)


def find_idx_file(folder: Path, stem: str) -> Path | None:
    """The IDX file of a folder whose name begins with `stem`, gzipped or not; None if there is none."""
    pattern = re.compile(re.escape(stem) + r"[-.]idx\d-ubyte(\.gz)?")
    return min((entry for entry in folder.iterdir() if pattern.fullmatch(entry.name)), default=None)


def _read_idx(file: Path) -> np.ndarray:
    """The array of an IDX file: two zero bytes, a type byte, the number of axes, their lengths, values."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            zeros, kind, axes = stream.read(2), stream.read(1), stream.read(1)
            if zeros != b"\0\0" or not kind or kind[0] not in IDX_TYPES or not axes:
                raise InvalidValue(
                    f"'{file}' is no IDX file: its first bytes are not 0, 0, a type", ("path",)
                )
            header = stream.read(4 * axes[0])
            shape = tuple(int(n) for n in np.frombuffer(header[: len(header) // 4 * 4], ">u4"))
            dtype = np.dtype(IDX_TYPES[kind[0]])
            size = math.prod(shape) * dtype.itemsize
            content = read_at_most(stream, size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidValue(f"'{file}' cannot be read: {error}", ("path",)) from None
    if len(shape) != axes[0] or len(content) != size:
        raise InvalidValue(
            f"'{file}' is cut off or too long: its header {list(shape)} asks for {size} bytes", ("path",)
        )
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="))
