"""See that the check of a GPU (make device) works, on the CPU: that what it trains agrees with itself."""

from __future__ import annotations

from pathlib import Path

from device.checks import checks, smoke_place

from torture import Report


def device_check(folder: Path) -> Report:
    """All of its checks, in small sizes."""
    rows = list(checks(smoke_place(folder)))
    return Report(len(rows), [f"{row.what}: {row.found}" for row in rows if not row.holds])
