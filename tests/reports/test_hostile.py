"""Directories that are damaged, or made to harm: a report refuses them in a line, or shows them as text."""

import random
import shutil

import pytest
from torture.hostile import damaged

from reports.elements import read

FILES = ("config.yaml", "summary.json", "metrics.csv", "layers.csv", "environment.json", "timing.csv")
FILES_OF_A_SWEEP = ("sweep.yaml", "summary.json", "trials.csv", "trials/{trial}/metrics.csv")
SEEDS = range(30)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_a_damaged_directory_costs_a_line_or_has_a_page(
    kind, seed, finished, swept, folder, nnlab, monkeypatch
):
    monkeypatch.setattr("nnlab.reports.contents.drawings_of", lambda *arguments: [])
    shutil.copytree(finished if kind == "run" else swept, folder / kind)
    pick = random.Random(seed)
    trial = next(iter((swept / "trials").iterdir())).name
    file = pick.choice(FILES if kind == "run" else FILES_OF_A_SWEEP).format(trial=trial)
    how = f"{file}: {damaged(folder / kind / file, pick)}"
    before = sorted(path.name for path in (folder / kind).iterdir())
    result = nnlab("report", kind, "--out", "report.html")
    assert result.exit_code in (0, 2), how
    assert (folder / "report.html").exists() == (result.exit_code == 0)
    if result.exit_code:
        assert result.stderr.count("\n") == 1, how
        assert len(result.stderr) < 2_000
    else:
        found = read(folder / "report.html")
        assert len(found.all("script")) == 3
        assert not any(name.startswith("on") for _, attributes, _ in found.elements for name in attributes)
    assert sorted(path.name for path in (folder / kind).iterdir()) == before
