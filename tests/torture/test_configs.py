"""A share of the torture of experiment files."""

from torture.configs import generated
from torture.typos import typos


def test_any_file_loads_or_is_refused_in_lines():
    report = generated(600, seed=1)
    assert report.cases == 600
    assert report.bad == []


def test_a_typo_of_a_letter_has_its_near_miss():
    report = typos(150, seed=1)
    assert report.cases == 150
    assert len(report.bad) <= 0.05 * report.cases, report.bad
