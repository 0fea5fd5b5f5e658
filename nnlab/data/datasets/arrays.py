"""Data sets from arrays: NPZ archives and IDX files. Neither can carry code: nothing is unpickled."""

from __future__ import annotations

import gzip
import math
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np

from nnlab.data.datasets.local_files import blame_path, existing_path, read_at_most
from nnlab.data.datasets.resize import Side, resize_examples
from nnlab.data.examples import (
    Examples,
    Source,
    Task,
    align_classes,
    classification_examples,
    examples_from_labels,
)
from nnlab.errors import InvalidValue
from nnlab.registry import register
from nnlab.text import join_words

IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


@register("dataset")
def npz(path: str, inputs: str = "x", targets: str = "y", task: Task = "classification") -> Source:
    """A NumPy archive with an array of inputs `[N, ...]` and one of targets.

    Where the archive holds `<inputs>_test` and `<targets>_test` too, they are the data set's own test
    examples.

    Args:
        path: The .npz file; a relative path starts at the working directory.
        inputs: The name of the array of inputs.
        targets: The name of the array of targets: `[N]`, or `[N, K]` values for a regression.
        task: `classification` numbers the different targets, sorted, which may be text; `regression` takes
            numbers.
    """

    def load(_: int) -> tuple[Examples, Examples | None]:
        arrays = _read_npz(existing_path(path), path)
        has_test_set = f"{inputs}_test" in arrays and f"{targets}_test" in arrays
        _check_npz(arrays, path, inputs, targets, has_test_set)
        count = len(arrays[inputs])
        if has_test_set:
            arrays[inputs] = blame_path(np.concatenate, [arrays[inputs], arrays[f"{inputs}_test"]])
            arrays[targets] = blame_path(np.concatenate, [arrays[targets], arrays[f"{targets}_test"]])
        # both in one, so that the labels of both are numbered alike
        together = blame_path(examples_from_labels, arrays[inputs], arrays[targets], task)
        if not has_test_set:
            return together, None
        return together.take(slice(count)), together.take(slice(count, None))

    return Source(load)


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


def _check_npz(
    arrays: dict[str, np.ndarray], path: str, inputs: str, targets: str, has_test_set: bool
) -> None:
    """Refuse an archive without numeric arrays of the right names and shapes. Raises InvalidValue."""
    for name in [inputs, targets] + ([f"{inputs}_test", f"{targets}_test"] if has_test_set else []):
        if name not in arrays:
            key = "inputs" if name == inputs else "targets"
            raise InvalidValue(
                f"'{path}' has no array '{name}'; it has {join_words(list(arrays), 'and')}", (key,)
            )
        is_text = name.startswith(targets) and arrays[name].dtype.kind == "U"
        if arrays[name].dtype.kind not in "fiub" and not is_text:
            raise InvalidValue(f"'{path}': array '{name}' holds no numbers", ("path",))
    if arrays[inputs].ndim < 2:
        raise InvalidValue(
            f"'{path}': '{inputs}' must have an axis of examples and one of features", ("path",)
        )
    if has_test_set and arrays[inputs].shape[1:] != arrays[f"{inputs}_test"].shape[1:]:
        raise InvalidValue(f"'{path}': '{inputs}' and '{inputs}_test' differ in shape", ("path",))


def _read_npz(location: Path, path: str) -> dict[str, np.ndarray]:
    try:
        with location.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ValueError("it is a single array, a .npy")
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidValue(f"'{path}' is no NPZ archive of plain arrays: {error}", ("path",)) from None


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
