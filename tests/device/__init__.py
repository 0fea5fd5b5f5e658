"""What nnlab promises on an accelerator, checked and raced: `make device`."""

from typing import NamedTuple


class Row(NamedTuple):
    """A line of the table.

    Attributes:
        what: What was tried.
        found: What came out.
        wanted: What was to come out.
        holds: Whether it did.
    """

    what: str
    found: str
    wanted: str
    holds: bool
