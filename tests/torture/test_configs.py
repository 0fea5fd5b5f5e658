"""A share of the torture of experiment files."""

from torture.configs import generated
from torture.typos import typos


def test_any_file_loads_or_is_refused_in_lines():
    report = generated(300, seed=1)
    assert report.cases == 300
    assert report.bad == []


def test_a_typo_of_a_letter_has_its_near_miss():
    report = typos(100, seed=1)
    assert report.cases == 100
    assert len(report.bad) <= 0.05 * report.cases, report.bad
