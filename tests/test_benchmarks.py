"""The benchmarks work, with whichever packages and data are there; how fast anything is, no test says."""

import operator
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"
SCRIPTS = sorted(
    path.stem for path in FOLDER.glob("*.py") if "__main__" in path.read_text() and path.stem != "run_all"
)


@pytest.fixture(autouse=True)
def _benchmarks_are_importable(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_smoke_run_ends_with_its_goals(name):
    from run_all import goal_rows

    words = [sys.executable, FOLDER / f"{name}.py", "--smoke"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for _, quantity, measured, bound, verdict in goal_rows(done.stdout):
        assert quantity in ("wall-clock", "CPU seconds", "peak memory")
        sign, number = bound.split()
        compare = {"<=": operator.le, ">=": operator.ge}[sign]
        assert verdict == ("met" if compare(float(measured), float(number)) else "missed")


def test_make_bench_runs_all_and_writes_one_page(tmp_path, monkeypatch):
    import run_all
    from race import GOAL_COLUMNS, table

    assert sorted(run_all.SCRIPTS) == SCRIPTS
    row = ["a step", "CPU seconds", "1.010", "<= 1.05", "met"]
    monkeypatch.setattr(run_all, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(run_all, "printed_by", lambda name: f"{name} says\n\n{table(GOAL_COLUMNS, [row])}\n")
    run_all.main()
    page = (tmp_path / "page.md").read_text()
    _, goals, *parts = page.split("\n## ")
    assert run_all.goal_rows(goals) == [row] * len(SCRIPTS)
    assert [part.splitlines()[4] for part in parts] == [f"{name} says" for name in run_all.SCRIPTS]
    assert "cores" in page
    assert "jax " in page


def test_the_least_of_each_quantity_counts_and_the_first_round_warms_up():
    from race import Cost, race

    costs = iter([Cost(1, 1, 1), Cost(3, 5, 3), Cost(4, 2, 3)])
    assert race({"one": lambda: next(costs)}, rounds=2) == {"one": Cost(3, 2, 3)}
    assert race({"one": lambda: Cost(1, 1, 1)}, rounds=1) == {"one": Cost(1, 1, 1)}


BURN = "import time\nx = b'x' * (%d * 2**20)\nwhile time.process_time() < 0.5: pass"
START = "import subprocess, sys; subprocess.run([sys.executable, '-c', %r], check=True)"
MEASURE = "import sys, race; print(*race.run_process([sys.executable, '-c', %r], {})[0])"


def test_the_cost_of_a_process_counts_those_that_it_starts():
    """Measured from a small process, as benchmarks do: a child's peak begins at that of its parent."""
    costs = []
    for mebibytes in (0, 200):
        words = [sys.executable, "-c", MEASURE % (START % (BURN % mebibytes))]
        done = subprocess.run(words, cwd=FOLDER, capture_output=True, text=True, check=True)
        costs.append([float(word) for word in done.stdout.split()])
    (_, cpu, idle_peak), (*_, peak) = costs
    assert cpu >= 0.5
    assert 200 <= peak < 200 + 2 * idle_peak


@pytest.mark.parametrize(("power", "is_met"), [(1, True), (2, False)])
def test_growth_in_proportion_is_told_from_worse(power, is_met):
    from growth import Axis, judged
    from race import Cost

    sizes = (10, 100, 1000)
    costs = [Cost(0, 50 + size**power) for size in sizes]
    axis = Axis("steps", sizes, lambda size: [])
    assert judged(axis, costs, "cpu").is_met == is_met
