"""What data sets from local files have in common."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import IO, ParamSpec, TypeVar

from nnlab.errors import InvalidValue

P = ParamSpec("P")
Result = TypeVar("Result")

READ_CHUNK_BYTES = 2**24


def existing_path(path: str) -> Path:
    """The file or folder that the key `path` names; `~` stands for the home folder.

    Raises:
        InvalidValue: There is none.
    """
    try:
        location = Path(path).expanduser()
        exists = location.exists()
    except (OSError, ValueError, RuntimeError):
        exists = False
    if not exists:
        raise InvalidValue(f"there is no '{path}' (relative paths start at the working directory)", ("path",))
    return location


def existing_file(path: str) -> Path:
    """The regular file that the key `path` names; a pipe might never end.

    Raises:
        InvalidValue: There is none, or it is something else.
    """
    location = existing_path(path)
    if not location.is_file():
        raise InvalidValue(f"'{path}' is no file", ("path",))
    return location


def blame_path(make: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
    """Call a function that makes arrays or examples of a file's content; its errors are those of `path`.

    Raises:
        InvalidValue: The function raised it, or a ValueError or TypeError.
    """
    try:
        return make(*args, **kwargs)
    except (InvalidValue, ValueError, TypeError) as error:
        raise InvalidValue(str(error), ("path",)) from None


def read_at_most(stream: IO[bytes] | gzip.GzipFile, size: int) -> bytes:
    """Up to `size` bytes, read in chunks: a damaged header may ask for any number of them."""
    chunks = []
    while size > 0 and (chunk := stream.read(min(size, READ_CHUNK_BYTES))):
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)
