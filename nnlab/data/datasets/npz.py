"""Data sets from NumPy archives. These cannot carry code: nothing is unpickled."""

from __future__ import annotations

import contextlib
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile

from nnlab.data.datasets.local_files import blame_path, existing_file
from nnlab.data.examples import Examples, Loaded, Source, Task, examples_from_labels
from nnlab.data.file_rows import ArrayFile, FileRows, is_too_large
from nnlab.data.inputs import concatenate_inputs
from nnlab.errors import InvalidValue
from nnlab.registry import register
from nnlab.text import join_words, suggestion

MAXIMUM_NAMES = 8  # of arrays, in a message
ZIP_LENGTHS = slice(26, 30)  # in a member's header, of what follows it: the name, and an extra field
OTHER_PARTS = {"test": ("test",), "validation": ("val", "valid", "validation")}  # by words in arrays' names

Names = tuple[str, str]  # of inputs and targets
Arrays = tuple[np.ndarray | FileRows, np.ndarray]


@register("dataset")
def npz(path: str, inputs: str = "x", targets: str = "y", task: Task = "classification") -> Source:
    """A NumPy archive with an array of inputs `[N, ...]` and one of targets.

    The array `x` may be called `x_train`, as in Keras's `mnist.npz`. Where the archive holds arrays of both
    names with `test` in place of `train`, or at the end where there is none, they are the data set's own test
    examples; with `val`, `valid` or `validation`, its own validation examples: `x_test` and `y_test`, say, or
    `test_images` and `test_labels` beside `train_images` and `train_labels`. Arrays that are left over are
    named in a note. Inputs are as in the archive: bytes are not divided by 255. Rows are counted on from the
    training examples to those of test and of validation.

    Of an archive that is too large for memory and not compressed (`numpy.savez`), inputs of bytes or float32
    stay in the file, and are read as they are needed.

    Args:
        path: The .npz file; a relative path starts at the working directory.
        inputs: The name of the array of inputs.
        targets: The name of the array of targets: `[N]`; one-hot rows `[N, K]`; or `[N, K]` values for a
            regression.
        task: `classification` numbers the different targets, sorted, which may be text, and takes the column
            of the one for one-hot rows; `regression` takes numbers. Numbers that are many and not whole, or
            far apart, are no classes.
    """

    def load(_: int) -> Loaded:
        with _opened(path) as archive:
            names = _choose(archive.files, path, inputs, targets)
            unused = sorted(set(archive.files).difference(*names.values()))
            file = existing_file(path)
            in_file = is_too_large(file.stat().st_size)
            arrays = {
                part: (_rows_in_file(file, archive, x) if in_file else archive[x], archive[y])
                for part, (x, y) in names.items()
            }
        _check(arrays, names, path)
        # all in one, so that the labels of all are numbered alike
        together = blame_path(_examples, list(arrays.values()), task)
        parts, start = {}, 0
        for part, pair in arrays.items():
            end = start + len(pair[0])
            taken = together.take(slice(start, end))
            parts[part], start = replace(taken, rows=np.arange(len(taken))), end
        notes = (f"'{path}': not used: {_join(unused)}",) if unused else ()
        return Loaded(parts["train"], parts.get("test"), parts.get("validation"), notes)

    return Source(load)


def _choose(present: Sequence[str], path: str, inputs: str, targets: str) -> dict[str, Names]:
    """The names of the arrays of each part of the data set. Raises InvalidValue."""
    x, y = (
        name if name in present or f"{name}_train" not in present else f"{name}_train"
        for name in (inputs, targets)
    )
    for name, other, key in ((x, y, "inputs"), (y, x, "targets")):
        if name not in present:
            others = [each for each in present if each != other]
            raise InvalidValue(
                f"'{path}' has no array '{name}'; it has {_join(present)}{_likely_name(name, others)}", (key,)
            )
    names = {"train": (x, y)}
    for part, words in OTHER_PARTS.items():
        pairs = [(_name_with(word, x), _name_with(word, y)) for word in words]
        pair = next((pair for pair in pairs if set(pair) <= set(present)), None)
        if pair is not None:
            names[part] = pair
    return names


def _name_with(word: str, name: str) -> str:
    """The name of the array of another part of the data set: `x_test` for `x_train`, or for `x`."""
    replaced = re.sub("(?<![a-z])train(?![a-z])", word, name)
    return replaced if replaced != name else f"{name}_{word}"


def _likely_name(name: str, present: Sequence[str]) -> str:
    """`; did you mean 'X'?`, or nothing where no array is called alike."""
    alike = {name.casefold(), f"{name}_train".casefold()}
    in_other_case = (f"; did you mean '{each}'?" for each in present if each.casefold() in alike)
    return next(in_other_case, suggestion(name, present) if len(name) > 1 else "")


def _join(names: Sequence[str]) -> str:
    """`a, b and c`; of many names the first few."""
    left = len(names) - MAXIMUM_NAMES
    return join_words([*names[:MAXIMUM_NAMES], f"{left} more"] if left > 0 else names, "and")


def _check(arrays: Mapping[str, Arrays], names: Mapping[str, Names], path: str) -> None:
    """Refuse arrays of wrong types or shapes, or that differ in them from the training arrays. Raises
    InvalidValue."""
    for part, (inputs, targets) in arrays.items():
        x, y = names[part]
        for name, array, kinds in ((x, inputs, "fiub"), (y, targets, "fiubUS")):
            if array.dtype.kind not in kinds:
                raise InvalidValue(f"'{path}': array '{name}' holds no numbers", ("path",))
        if inputs.ndim < 2:
            raise InvalidValue(
                f"'{path}': '{x}' must have an axis of examples and one of features", ("path",)
            )
        if targets.ndim < 1 or len(inputs) != len(targets):
            counts = f"{len(inputs)} inputs but {len(targets) if targets.ndim else 1} targets"
            message = f"'{path}': '{x}' and '{y}' are {counts}; there must be one for each"
            raise InvalidValue(message, ("path",))
        if not len(inputs):
            raise InvalidValue(f"'{path}': '{x}' is empty", ("path",))
        pairs = zip(names["train"], arrays["train"], names[part], arrays[part], strict=True)
        for first, train, name, array in pairs:
            if array.shape[1:] != train.shape[1:]:
                raise InvalidValue(f"'{path}': '{first}' and '{name}' differ in shape", ("path",))
        if (targets.dtype.kind in "US") != (arrays["train"][1].dtype.kind in "US"):
            message = f"'{path}': of '{names['train'][1]}' and '{y}' one is text, the other numbers"
            raise InvalidValue(message, ("path",))


def _rows_in_file(file: Path, archive: NpzFile, name: str) -> np.ndarray | FileRows:
    """The rows of an array, which stay in the file; the array itself where they do not lie there one after
    the other, as they are compressed, say.

    Raises:
        ValueError: The array is cut short.
        OSError: The file cannot be read.
    """
    with file.open("rb") as stream:
        member = zipfile.ZipFile(stream).getinfo(f"{name}.npy")
        if member.compress_type != zipfile.ZIP_STORED:
            return archive[name]
        stream.seek(member.header_offset + ZIP_LENGTHS.start)
        lengths = struct.unpack("<HH", stream.read(4))
        start = member.header_offset + ZIP_LENGTHS.stop + sum(lengths)
        stream.seek(start)
        version = np.lib.format.read_magic(stream)
        headers = np.lib.format.read_array_header_1_0, np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = headers[version != (1, 0)](stream)
        array = ArrayFile.of(file, stream.tell(), shape, dtype)
    if by_columns or dtype.kind not in "fiub" or len(shape) < 2:
        return archive[name]
    if array.start + shape[0] * array.row_bytes != start + member.file_size:
        raise ValueError(f"array '{name}' is cut short")
    return FileRows.of(array)


def _examples(arrays: Sequence[Arrays], task: Task) -> Examples:
    """The examples of all parts, one after the other."""
    inputs, targets = zip(*arrays, strict=True)
    if len(arrays) == 1:
        return examples_from_labels(inputs[0], targets[0], task)
    return examples_from_labels(concatenate_inputs(inputs), np.concatenate(targets), task)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[NpzFile]:
    """An archive, of which nothing is read before it is asked for. Raises InvalidValue, then as well."""
    location = existing_file(path)
    try:
        with location.open("rb") as stream:
            archive = np.load(stream, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ValueError("it is a single array, a .npy")
            with archive:
                yield archive
    except InvalidValue:
        raise
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        objects = "it holds Python objects, which are not loaded; save numbers, or text by .astype(str)"
        reason = objects if "allow_pickle" in str(error) else error
        raise InvalidValue(f"'{path}' is no NPZ archive of plain arrays: {reason}", ("path",)) from None
