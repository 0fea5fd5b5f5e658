"""Data sets from files: CSV, Parquet, NPZ and IDX. None of them can carry code: nothing is unpickled."""

from __future__ import annotations

import gzip
import math
import re
import textwrap
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from nnlab.data.datasets.resize import Side, with_size
from nnlab.data.encoding import Coding, coded
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
from nnlab.text import join_words, suggestion

if TYPE_CHECKING:
    import pandas


@register("dataset", name="csv")
def csv_file(path: str, target: str, task: Task = "classification", coding: Coding | None = None) -> Source:
    """A CSV file with a header row: one column is the target, all others are inputs, in their order.

    target: the column's name. task: `classification` numbers the target's sorted different values. coding: of
    every text column (null: there may be none), or a mapping from columns, of numbers too, each to its own:
    one_hot, a unit a value (lecture 002); binary, the ceil(log2 k) bits of the value's number among the k
    sorted ones, highest first; ordinal, that number, from 0 on, as one unit; a list of the column's values,
    their numbers in this order. The values are those of the whole file, whatever the split: names, no
    statistics.
    """

    def read(file: Path) -> pandas.DataFrame:
        import pandas

        try:
            table = pandas.read_csv(file, encoding="utf-8")
        except (ValueError, OSError, pandas.errors.ParserError) as error:
            raise InvalidValue(f"'{path}' is no CSV table: {error}", ("path",)) from None
        table.index = pandas.RangeIndex(2, len(table) + 2, name="line")
        return table

    return _from_table(read, path, target, task, coding)


@register("dataset")
def parquet(path: str, target: str, task: Task = "classification", coding: Coding | None = None) -> Source:
    """A Parquet file: one column is the target, all others are inputs, in their order.

    target, task, coding: as for `csv`. Row labels that pandas wrote beside the columns are left out. Needs
    PyArrow, the extra `parquet`.
    """

    def read(file: Path) -> pandas.DataFrame:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise InvalidValue("parquet needs PyArrow: pip install 'nnlab[parquet]'") from None
        import pandas

        try:
            with file.open("rb") as stream:  # a path could name a folder of files, or an address
                columns = pyarrow.parquet.ParquetFile(stream).read()
            own = [name for name in columns.column_names if not re.fullmatch(r"__index_level_\d+__", name)]
            table = columns.select(own).to_pandas(ignore_metadata=True)  # which may name types of any kind
        except (ValueError, OSError, TypeError, KeyError, pyarrow.ArrowException) as error:
            reason = textwrap.shorten(str(error), 240, placeholder=" ...")
            raise InvalidValue(f"'{path}' is no Parquet table: {reason}", ("path",)) from None
        table.index = pandas.RangeIndex(1, len(table) + 1, name="row")
        return table

    return _from_table(read, path, target, task, coding)


@register("dataset")
def npz(path: str, inputs: str = "x", targets: str = "y", task: Task = "classification") -> Source:
    """A NumPy archive with an array of inputs `[N, ...]` and one of targets `[N]` (or `[N, K]` values).

    inputs, targets: the arrays' names. Where `<inputs>_test` and `<targets>_test` are there too, they are
    the data set's own test examples.
    """

    def load(_: int) -> tuple[Examples, Examples | None]:
        arrays = _read_npz(existing(path), path)
        test = f"{inputs}_test" in arrays and f"{targets}_test" in arrays
        wanted = [inputs, targets] + ([f"{inputs}_test", f"{targets}_test"] if test else [])
        for name in wanted:
            if name not in arrays:
                key = "inputs" if name == inputs else "targets"
                raise InvalidValue(
                    f"'{path}' has no array '{name}'; it has {join_words(list(arrays), 'and')}", (key,)
                )
            if arrays[name].dtype.kind not in "fiub" and not (
                name.startswith(targets) and arrays[name].dtype.kind == "U"
            ):
                raise InvalidValue(f"'{path}': array '{name}' holds no numbers", ("path",))
        if arrays[inputs].ndim < 2:
            raise InvalidValue(
                f"'{path}': '{inputs}' must have an axis of examples and one of features", ("path",)
            )
        count = len(arrays[inputs])
        if test and arrays[inputs].shape[1:] != arrays[f"{inputs}_test"].shape[1:]:
            raise InvalidValue(f"'{path}': '{inputs}' and '{inputs}_test' differ in shape", ("path",))
        if test:
            arrays[inputs] = _at_path(np.concatenate, [arrays[inputs], arrays[f"{inputs}_test"]])
            arrays[targets] = _at_path(np.concatenate, [arrays[targets], arrays[f"{targets}_test"]])
        together = _at_path(
            examples_from_labels, arrays[inputs], arrays[targets], task
        )  # one numbering of the labels
        if not test:
            return together, None
        return together.take(slice(count)), together.take(slice(count, None))

    return Source(load)


@register("dataset")
def idx(path: str, size: Side | None = None) -> Source:
    """A folder of IDX files, gzipped or not: MNIST, Fashion-MNIST and their kin.

    It holds `train-images-...`, `train-labels-...` and, for a test set, `t10k-images-...`, `t10k-labels-...`.
    Inputs are `[N, height, width]`, bytes divided by 255. size: resizes images to so many pixels a side,
    bilinearly between the pixels' centres and without averaging first, as PyTorch's `interpolate` does.
    """

    def load(_: int) -> tuple[Examples, Examples | None]:
        folder = existing(path)
        if not folder.is_dir():
            raise InvalidValue(f"'{path}' is no folder; name the one that holds the IDX files", ("path",))
        train = idx_pair(folder, "train")
        if train is None:
            raise InvalidValue(
                f"'{path}' holds no train-images and train-labels IDX files (such as "
                "train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz)",
                ("path",),
            )
        test = idx_pair(folder, "t10k")
        train, test = (train, None) if test is None else align_classes(train, test)
        return with_size(train, size), test and with_size(test, size)

    return Source(load)


def existing(path: str) -> Path:
    """The place that a path names. Raises InvalidValue."""
    try:
        place = Path(path).expanduser()
        found = place.exists()
    except (OSError, ValueError, RuntimeError):
        found = False
    if not found:
        raise InvalidValue(f"there is no '{path}' (relative paths start at the working directory)", ("path",))
    return place


def _from_table(
    read: Callable[[Path], pandas.DataFrame], path: str, target: str, task: Task, coding: Coding | None
) -> Source:
    """The examples of a table, whose index says where its rows stand in the file."""

    def load(_: int) -> tuple[Examples, None]:
        import pandas

        table = read(existing(path))
        if target not in table:
            raise InvalidValue(
                f"'{path}' has no column '{target}'{suggestion(target, table.columns)}", ("target",)
            )
        _refuse_gaps(table, path)
        inputs = table.drop(columns=target)
        if inputs.shape[1] == 0:
            raise InvalidValue(f"'{path}' has no column beside the target", ("path",))
        if task == "regression" and not pandas.api.types.is_numeric_dtype(table[target]):
            raise InvalidValue(f"'{path}': column '{target}' holds text, no values to regress", ("target",))
        features = coded(inputs, coding, path)
        return _at_path(examples_from_labels, features, table[target].to_numpy(), task), None

    return Source(load)


def _at_path(make: Any, *arguments: Any) -> Any:
    """Call what makes arrays or examples, what is wrong with them being the file's fault."""
    try:
        return make(*arguments)
    except (InvalidValue, ValueError, TypeError) as error:
        raise InvalidValue(str(error), ("path",)) from None


def _refuse_gaps(table: Any, path: str) -> None:
    if table.empty:
        raise InvalidValue(f"'{path}' has no rows", ("path",))
    gaps = table.isna().to_numpy()
    if gaps.any():
        row, column = (int(i) for i in np.argwhere(gaps)[0])
        raise InvalidValue(
            f"'{path}' {table.index.name} {table.index[row]}, column '{table.columns[column]}': empty or NaN "
            f"({int(gaps.sum())} such cells in all; NA, None and null count as such); fill or drop them",
            ("path",),
        )


def _read_npz(place: Path, path: str) -> dict[str, np.ndarray]:
    try:
        with place.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ValueError("it is a single array, a .npy")
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidValue(f"'{path}' is no NPZ archive of plain arrays: {error}", ("path",)) from None


def idx_pair(folder: Path, stem: str) -> Examples | None:
    """The examples of a folder's `<stem>-images` and `<stem>-labels`, if it holds both."""
    images, labels = idx_file(folder, f"{stem}-images"), idx_file(folder, f"{stem}-labels")
    if images is None or labels is None:
        return None
    pixels, numbers = _read_idx(images), _read_idx(labels)
    if numbers.ndim != 1 or pixels.ndim < 2 or numbers.dtype.kind not in "iu":
        raise InvalidValue(f"'{labels}' holds no list of labels for the images of '{images}'", ("path",))
    scale = 255.0 if pixels.dtype == np.uint8 else 1.0
    return _at_path(classification_examples, pixels / np.float32(scale), numbers)


def idx_file(folder: Path, stem: str) -> Path | None:
    """The IDX file of a folder whose name begins with `stem`, gzipped or not."""
    pattern = re.compile(re.escape(stem) + r"[-.]idx\d-ubyte(\.gz)?")
    found = sorted(entry for entry in folder.iterdir() if pattern.fullmatch(entry.name))
    return found[0] if found else None


def at_most(stream: IO[bytes] | gzip.GzipFile, size: int) -> bytes:
    """Up to `size` bytes, in pieces: a damaged header may ask for any number of them."""
    pieces = []
    while size > 0 and (piece := stream.read(min(size, 2**24))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def _read_idx(file: Path) -> np.ndarray:
    """An IDX file: two zero bytes, a type byte, the number of axes, their lengths, the values."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            zeros, kind, axes = stream.read(2), stream.read(1), stream.read(1)
            if zeros != b"\0\0" or not kind or kind[0] not in _IDX_TYPES or not axes:
                raise InvalidValue(
                    f"'{file}' is no IDX file: its first bytes are not 0, 0, a type", ("path",)
                )
            header = stream.read(4 * axes[0])
            shape = tuple(int(n) for n in np.frombuffer(header[: len(header) // 4 * 4], ">u4"))
            dtype = np.dtype(_IDX_TYPES[kind[0]])
            size = math.prod(shape) * dtype.itemsize
            content = at_most(stream, size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidValue(f"'{file}' cannot be read: {error}", ("path",)) from None
    if len(shape) != axes[0] or len(content) != size:
        raise InvalidValue(
            f"'{file}' is cut off or too long: its header {list(shape)} asks for {size} bytes", ("path",)
        )
    return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="))
