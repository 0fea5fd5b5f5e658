"""The report: one file in which everything that comes from a run is text, and that replaces nothing else."""

import base64
import hashlib
import json
import re
import shutil
from types import SimpleNamespace

import pandas
import pytest
import yaml

import nnlab
from nnlab.config.experiment_keys import Bound
from nnlab.reports.outcomes import margin_in_words
from nnlab.reports.trial_curves import trial_labels
from reports.elements import read

MOST_BYTES = 400_000  # without figures
NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


def copy_of(run, folder, name="run"):
    shutil.copytree(run, folder / name)
    return folder / name


@pytest.fixture
def without_figures(monkeypatch):
    """Draws none, which takes seconds."""
    monkeypatch.setattr("nnlab.reports.contents.drawings_of", lambda *arguments: [])


@pytest.fixture(scope="module")
def page(finished, tmp_path_factory):
    file = nnlab.report(finished, out=tmp_path_factory.mktemp("report") / "a.html")
    return file, read(file)


def test_it_shows_what_was_asked_and_what_came_out(page, finished):
    run = nnlab.open(finished)
    _, found = page
    (heading,) = found.all("h1")
    assert heading[1] == "tiny"
    text = found.all("body")[0][1]
    for key, bound, value, word in run.check().rows():
        assert all(part in text for part in (key, bound, value, word))
    for name in run.summary["gradient_flow"]:
        assert name in text
    assert "Gradient norm of the first over that of the last hidden layer" in text
    assert "learning_rate: 0.1" in text
    assert f"nnlab train {finished}/config.yaml" in text
    assert run.summary["final"]["train_loss"] == pytest.approx(
        json.loads(found.all("script", id="data")[0][1])["groups"]["runs"]["charts"][0]["bundles"][0][
            "lines"
        ][0]["values"][-1],
        rel=1e-4,
    )


def test_curves_and_layers_are_those_of_the_tables(page, finished):
    run, data = nnlab.open(finished), json.loads(page[1].all("script", id="data")[0][1])
    charts = {chart["title"]: chart["bundles"][0] for chart in data["groups"]["runs"]["charts"]}
    assert charts["loss"]["steps"] == run.metrics["step"].tolist()
    for line in charts["accuracy"]["lines"]:
        column = run.metrics[f"{line['name'].replace('training', 'train')}_accuracy"]
        assert line["values"] == pytest.approx(column.tolist(), rel=1e-4)
    (layers,) = data["layers"]["runs"]
    assert layers["steps"] == sorted(set(run.layers["step"]))
    first = run.layers[run.layers["step"] == 0]
    assert layers["layers"] == first["layer"].tolist()
    assert layers["values"]["grad_norm"][0] == pytest.approx(first["grad_norm"].tolist(), rel=1e-4)


def test_it_runs_nothing_but_its_own_script_and_fetches_nothing(page):
    _, found = page
    (policy,) = [
        a["content"] for a, _ in found.all("meta") if a.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"

    def hashed(text):
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    scripts = [text for a, text in found.all("script") if a.get("type") != "application/json"]
    assert rules["script-src"].split() == [hashed(text) for text in scripts]
    (style,) = [text for _, text in found.all("style")]
    assert rules["style-src"] == hashed(style)
    assert set(rules) == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}
    for tag, attributes, _ in found.elements:
        assert not {name for name in attributes if name.startswith("on") or name in ("style", "src")}, tag
        for name in ("href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))


def test_without_figures_it_is_small_and_every_id_is_one_elements(page):
    file, found = page
    text = re.sub(r"<svg(?! class=.parallel).*?</svg>", "", file.read_text(), flags=re.S)
    assert len(text.encode()) < MOST_BYTES
    ids = [attributes["id"] for _, attributes, _ in found.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    targets = [a["href"][1:] for a, _ in found.all("a")]
    assert set(targets) <= set(ids)


def test_it_can_be_read_without_javascript(page, finished):
    _, found = page
    assert [a for a, _ in found.all("svg") if a.get("role") == "img"]
    shown = {text for _, text in found.all("td")}
    final = nnlab.open(finished).summary["final"]
    assert f"{final['train_loss']:.4g}" in shown


def test_several_are_compared(finished, folder, without_figures):
    first, second = copy_of(finished, folder, "first"), copy_of(finished, folder, "second")
    config = yaml.safe_load((second / "config.yaml").read_text())
    config["optimizer"]["learning_rate"] = 0.5
    (second / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    file = nnlab.report(first, second)
    assert str(file) == "report.html"
    found = read(file)
    section = found.all("section", id="together")[0][1]
    assert "optimizer.learning_rate" in section
    assert {"0.1", "0.5"} <= {text for _, text in found.all("td")}
    marked = [text for attributes, text in found.all("div") if "d" in attributes.get("class", "").split()]
    rates = [text.partition("#")[0].strip() for text in marked if "learning_rate" in text]
    assert rates == ["learning_rate: 0.1", "learning_rate: 0.5"]
    assert {text for _, text in found.all("h2")} >= {"learning rate 0.1", "learning rate 0.5"}


@pytest.mark.parametrize(
    "place", ["config name", "layer", "class", "reason", "environment", "plug-in", "path"]
)
def test_what_comes_from_a_run_stays_text(place, finished, folder, request):
    if place != "layer":  # whose names are in figures, too
        request.getfixturevalue("without_figures")
    name = "<img src=x onerror=alert(3)>" if place == "path" else "run"
    run = copy_of(finished, folder, name)
    summary = json.loads((run / "summary.json").read_text())
    environment = json.loads((run / "environment.json").read_text())
    if place == "layer":
        file = run / "layers.csv"
        file.write_text(file.read_text().replace("dense_1", NASTY))
    elif place == "class":
        summary["stopped_by"] = NASTY
    elif place == "reason":
        summary["gradient_flow"] |= {"reason": NASTY, "verdict": NASTY}
    elif place == "environment":
        environment["versions"][NASTY] = NASTY
    elif place == "plug-in":
        environment["plugins"] = {NASTY: {"distribution": NASTY}}
    elif place == "config name":
        text = (run / "config.yaml").read_text()
        (run / "config.yaml").write_text(text.replace("sweep: null", f"sweep: null # {NASTY}"))
        text = (run / "metrics.csv").read_text()
        (run / "metrics.csv").write_text(text.replace("grad_norm", f'"{NASTY}"'))
    (run / "summary.json").write_text(json.dumps(summary))
    (run / "environment.json").write_text(json.dumps(environment))
    found = read(nnlab.report(run, out="page.html"))
    assert len(found.all("script")) == 3
    assert found.all("img") == []
    assert not any(name.startswith("on") for _, attributes, _ in found.elements for name in attributes)


# --- where it is written -----------------------------------------------------------------------------------


def test_the_command_writes_it_into_the_directory_and_again(finished, folder, nnlab, without_figures):
    run = copy_of(finished, folder)
    for _ in range(2):
        result = nnlab("report", "run")
        assert (result.exit_code, result.stdout) == (0, "run/report.html\n")
    assert nnlab("check", run).exit_code == 0


def test_anything_else_is_left_alone(finished, folder, nnlab, without_figures):
    copy_of(finished, folder)
    (folder / "notes.html").write_text("mine")
    (folder / "link.html").symlink_to("notes.html")
    for name, words in (
        ("notes.html", "is there already, and is no report"),
        ("link.html", "is a symbolic link"),
        ("run", "is no file"),
    ):
        result = nnlab("report", "run", "--out", name)
        assert result.exit_code == 2
        assert result.stderr == f"{name}: {words}; name another file with --out\n"
    assert (folder / "notes.html").read_text() == "mine"


def test_what_is_no_run_costs_a_line(finished, folder, nnlab, without_figures):
    copy_of(finished, folder)
    (folder / "empty").mkdir()
    for name, words in (
        ("empty", "no run directory: it has no config.yaml"),
        ("gone", "no such run directory"),
    ):
        result = nnlab("report", "run", name)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"{name}: {words}")
        assert result.stderr.count("\n") == 1
    assert not (folder / "report.html").exists()


def test_a_run_without_records_has_a_page_too(finished, folder):
    run = copy_of(finished, folder)
    for file in run.glob("*.csv"):
        file.unlink()
    shutil.rmtree(run / "checkpoints")
    (run / "environment.json").unlink()
    (run / "summary.json").write_text('{"status": "running"}')
    found = read(nnlab.report(run))
    assert "not yet" in found.all("section", id="outcome")[0][1]
    assert found.all("svg") == []


@pytest.mark.parametrize(
    ("bound", "value", "margin"),
    [
        (Bound(min=2.0), 3.5, "+1.5"),
        (Bound(max=2.0), 3.5, "-1.5"),
        (Bound(min=1.0, max=4.0), 3.5, "+0.5"),
        (Bound(min=1.0), None, ""),
        (Bound(min=1.0), float("nan"), ""),
        (Bound(equals="grokking"), "grokking", ""),
        (Bound(equals=3), 3, ""),
    ],
)
def test_the_margin_is_how_far_within(bound, value, margin):
    assert margin_in_words(bound, value) == margin


def test_a_trial_is_called_by_its_values():
    trials = pandas.DataFrame(
        {"model.0.times": [1, 2], "optimizer.learning_rate": [0.1, 0.5], "seed": [0, 0]}
    )
    sweep = SimpleNamespace(axes=list(trials)[:2], trials=trials)
    assert trial_labels(sweep) == [
        "times of layer 1 = 1, learning rate 0.1",
        "times of layer 1 = 2, learning rate 0.5",
    ]
