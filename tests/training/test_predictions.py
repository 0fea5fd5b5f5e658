"""What a run says of examples and classes in the words of their source."""

import csv
import json

import numpy as np
import pandas
import pytest

import nnlab
from nnlab.cli.output import print_run
from nnlab.phenomena.examples import class_label

NAMES = ["so-so", "7", "$9", "a rather long name", "九"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on a table whose classes have names, and the rows of the table."""
    folder = tmp_path_factory.mktemp("named")
    values = np.random.default_rng(0).standard_normal((100, 8)).round(3).tolist()
    rows = [[*row, NAMES[place % 5]] for place, row in enumerate(values)]
    with (folder / "moods.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([[*"abcdefgh", "mood"], *rows])
    config = {
        "name": "named",
        "data": {"type": "csv", "path": str(folder / "moods.csv"), "target": "mood"},
        "model": [{"type": "dense", "units": 5}],
        "train": {"epochs": 1},
        "record": {"every": {"epochs": 1}, "predictions": True},
        "phenomena": ["confusion"],
    }
    return nnlab.train(nnlab.experiment(config), folder / "run"), rows


def test_predictions_name_row_and_class(run):
    trained, rows = run
    table = pandas.read_csv(trained.path / "predictions.csv")
    assert list(table)[:5] == ["split", "example", "output", "target", "prediction"]
    assert len(table) == 5 * table["row"].nunique() == 5 * 85  # without validation
    places = table["row"].to_numpy()[::5]
    outputs = trained.predict([rows[place][:-1] for place in places])
    np.testing.assert_allclose(table["prediction"].to_numpy().reshape(-1, 5), outputs, rtol=1e-5, atol=1e-6)
    right = table[table["target"] == 1]
    assert right["class_name"].tolist() == [rows[place][-1] for place in places]
    assert trained.table("predictions").equals(table)


def test_summary_and_confusion_name_the_classes(run):
    trained, _ = run
    summary = json.loads((trained.path / "summary.json").read_text(encoding="utf-8"))
    assert summary["class_names"] == dict(zip("01234", sorted(NAMES), strict=True))
    table = trained.table("confusion")
    for column in ("true", "predicted"):
        assert (table[f"{column}_name"] == [sorted(NAMES)[number] for number in table[column]]).all()


def test_printed_numbers_of_classes_have_their_names(run, capsys):
    trained, _ = run
    print_run(trained)
    worst = trained.summary["confusion"]["worst_class"]
    assert f"{worst} ({sorted(NAMES)[worst]})" in capsys.readouterr().out


def test_figures_name_the_classes_that_their_font_can_write(run):
    trained, _ = run
    labels = [r"\$9", "7", "a rather long…", "so-so", "4"]
    assert [class_label(trained, number) for number in range(5)] == labels
    (ax, _) = trained.figure("confusion_matrix").axes
    assert [label.get_text() for label in ax.get_xticklabels()] == labels
    trained.figure("misclassified").canvas.draw()
