"""A small share of what `make torture` does at length; tests/sweeps kills sweeps and their workers."""

from torture.damage import damage
from torture.faults import FAULTS, faults
from torture.joins import joins
from torture.kills import RUN, SWEEP, kills
from torture.peaks import peaks
from torture.surroundings import surroundings


def sound(report, cases):
    assert report.bad == []
    assert report.cases >= cases


def test_killed_runs_go_on_to_the_same_bytes(tmp_path):
    sound(kills("train", 2, tmp_path, text=RUN.replace("16000", "4000")), 2)


def test_processes_that_share_a_sweep_and_are_killed(tmp_path):
    sound(joins(2, tmp_path, text=SWEEP.replace("40000", "8000").replace("[4, 6, 8]", "[4, 6]")), 2)


def test_failing_calls_to_the_file_system(tmp_path):
    sound(faults(tmp_path, stride=20), 5 * len(FAULTS))


def test_damaged_checkpoints_are_not_loaded(tmp_path):
    sound(damage(tmp_path, truncations=10, flips=50), 300)


def test_surroundings_that_say_no(tmp_path):
    sound(surroundings(tmp_path, shorter=True), 2)


def test_the_estimate_of_memory(tmp_path):
    sound(peaks(tmp_path, ["grokking_mod31"]), 1)
