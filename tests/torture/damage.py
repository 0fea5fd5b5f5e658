"""Cut files of a checkpoint short and flip bits of them: damage is seen, never loaded as other data."""

from __future__ import annotations

import random
from pathlib import Path

from nnlab.storage import checkpoints
from nnlab.storage.checkpoints import DamagedError
from nnlab.system import files
from torture import Report
from torture.faults import RUN, train


def damaged(content: bytes, truncations: int, flips: int, pick: random.Random) -> list[tuple[str, bytes]]:
    """The content cut off at places, all of them where it is short, and with single bits flipped."""
    lengths = range(len(content))
    cuts = lengths if len(content) <= truncations else pick.sample(lengths, truncations)
    found = [(f"cut to {length} bytes", content[:length]) for length in cuts]
    for bit in [pick.randrange(8 * len(content)) for _ in range(flips)]:
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        found.append((f"bit {bit} flipped", bytes(changed)))
    return found


def loads(place: Path) -> bool:
    """Whether a checkpoint would be gone on from."""
    try:
        tables = checkpoints.load(place).meta.tables
    except DamagedError:
        return False
    return all(
        files.has_prefix(place.parents[1] / f"{name}.csv", position) for name, position in tables.items()
    )


def damage(folder: Path, truncations: int = 200, flips: int = 1000, seed: int = 0) -> Report:
    """Every file of a checkpoint and every table, so often cut and flipped; and afterwards, whole again."""
    (folder / "torture.yaml").write_text(RUN)
    run = folder / "run"
    assert train(folder / "torture.yaml", run).exit_code == 0
    place = sorted((run / "checkpoints").glob("step-*"))[-1]
    tables = [run / f"{table}.csv" for table in checkpoints.load(place).meta.tables]
    cases, bad, pick = 0, [], random.Random(seed)
    for file in [*sorted(place.iterdir()), *tables]:
        content = file.read_bytes()
        for what, other in damaged(content, truncations, flips, pick):
            file.write_bytes(other)
            cases += 1
            if loads(place):
                bad.append(f"{file.name} {what}: loaded")
        file.write_bytes(content)
    if not loads(place):
        bad.append("a whole checkpoint was not loaded")
    return Report(cases, bad)
