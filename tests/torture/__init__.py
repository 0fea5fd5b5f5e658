"""What nnlab promises, put to the test at length: `make torture` runs all of it, the tests a share of it."""

from typing import NamedTuple


class Report(NamedTuple):
    """How many cases were tried, and a line for each that went wrong."""

    cases: int
    bad: list[str]
