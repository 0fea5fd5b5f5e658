"""The report in a real browser: no error, no request, and what can be done with it done by mouse and keys.

It needs Chromium (`apt install chromium`), `pip install playwright`, and for accessibility axe-core
(`npm install --no-save axe-core` in this repository); without them it is skipped.
"""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import TINY

import nnlab
from nnlab.storage.run_directory import RunDirectory

playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="apt install chromium")

OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
OPTIONS += ["--disable-background-networking", "--disable-component-update"]
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 400, "height": 800}
SWEEPS = {
    "one-axis": "sweep: {axes: {model.width: [2, 4, 8]}, seeds: 2}",
    "two-axes": "sweep: {axes: {model.width: [2, 4], optimizer.learning_rate: [0.01, 0.1]}}",
    "many-axes": "sweep: {random: {draws: 6, axes: {optimizer.learning_rate: {log_uniform: [0.01, 1]},"
    " optimizer.momentum: {uniform: [0, 0.9]}, data.batch_size: {choice: [4, 8]}}}}",
}


@pytest.fixture(scope="module")
def results(tmp_path_factory, sweeps_here):
    """Eight runs and three sweeps."""
    home = tmp_path_factory.mktemp("results")
    (home / "tiny.yaml").write_text(TINY)
    made = [
        nnlab.train(nnlab.load(home / "tiny.yaml", f"seed={seed}"), home / f"run-{seed}", plots=False).path
        for seed in range(8)
    ]
    for name, block in SWEEPS.items():
        text = TINY.replace("name: tiny", f"name: {name}").replace("phenomena: [gradient_flow]\n", "")
        (home / f"{name}.yaml").write_text(text.partition("expect:")[0] + block)
        made.append(nnlab.sweep(nnlab.load(home / f"{name}.yaml"), home / name, plots=False).path)
    return made


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(results, tmp_path_factory):
    return nnlab.report(*results, out=tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def small_file(results, tmp_path_factory):
    """Of two runs and a sweep: looking at every element takes its time."""
    chosen = [*results[:2], results[-1]]
    return nnlab.report(*chosen, out=tmp_path_factory.mktemp("report") / "small.html")


class Visit:
    """A page, and what went wrong on it and what it asked the network for."""

    def __init__(self, browser, address, viewport=WIDE, **options):
        self.context = browser.new_context(viewport=viewport, **options)
        self.page = self.context.new_page()
        self.messages, self.requests = [], []
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.messages.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)

    def close(self):
        self.context.close()


@pytest.fixture
def visit(chromium):
    visits = []

    def go(address, **options):
        visits.append(Visit(chromium, address, **options))
        return visits[-1]

    yield go
    for each in visits:
        each.close()


@pytest.fixture
def seen(visit, file):
    return visit(file.as_uri())


def ranges(page):
    """The first and last step that each chart of the runs shows."""
    return page.evaluate("""() => [...document.querySelectorAll('.charts[data-group=runs] .plot')].map(
        holder => holder.nnlab.scales.x).map(({min, max}) => [min, max])""")


def test_it_opens_without_an_error_or_a_request(seen, file):
    assert seen.page.locator(".charts .u-over").count() == 4 + 3 * 2
    assert seen.messages == []
    assert seen.requests == [file.as_uri()]


def test_dragging_zooms_all_charts_and_a_button_shows_all(seen):
    page = seen.page
    whole = ranges(page)
    chart = page.locator(".charts[data-group=runs] .u-over").first
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 60, steps=4)
    page.mouse.up()
    page.wait_for_timeout(50)
    near = ranges(page)
    assert near[0][0] > whole[0][0]
    assert near[0][1] < whole[0][1]
    assert all(chart == pytest.approx(near[0]) for chart in near)
    page.get_by_role("button", name="Whole training").first.click()
    assert ranges(page) == whole


def test_by_keys_a_chart_is_read_off_and_zoomed(seen):
    page = seen.page
    whole = ranges(page)
    chart = page.locator(".charts[data-group=runs] .chart").first
    chart.locator(".plot").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert chart.locator(".readout b").first.inner_text() == "step 5"
    page.keyboard.press("+")
    assert ranges(page)[0][1] < whole[0][1]
    page.keyboard.press("0")
    assert ranges(page) == whole


def test_a_run_is_hidden_and_shown(seen):
    page = seen.page
    button = page.locator(".charts[data-group=runs] .legend button").first
    shown = "() => document.querySelector('.charts[data-group=runs] .plot').nnlab.series[1].show"
    button.click()
    assert (button.get_attribute("aria-pressed"), page.evaluate(shown)) == ("false", False)
    button.click()
    assert page.evaluate(shown) is True


def test_the_slider_moves_over_the_records(seen):
    page = seen.page
    drawn = "() => document.querySelector('.layers .plot').nnlab.data[1]"
    last = page.evaluate(drawn)
    page.locator("#record").focus()
    page.keyboard.press("Home")
    assert page.locator(".layers .tools output").inner_text() == "step 0"
    assert page.evaluate(drawn) != last
    page.locator("#quantity").select_option(index=1)
    assert page.locator(".layers .tools output").inner_text() == "step 0"


def column(table, key):
    at = table.locator("thead th").evaluate_all(f"heads => heads.findIndex(h => h.dataset.key === '{key}')")
    cells = table.locator(f"tbody tr:not(.off) td:nth-child({at + 1})")
    return [float(text) for text in cells.all_inner_texts()]


def test_trials_are_sorted_and_filtered(seen, results):
    page, sweep = seen.page, nnlab.open(results[-1])
    table = page.locator("table.trials").last
    head = table.locator("th[data-key='optimizer.momentum']")
    for direction in ("ascending", "descending"):
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == direction
        values = column(table, "optimizer.momentum")
        assert values == sorted(values, reverse=direction == "descending")
    middle = float(sweep.trials["optimizer.momentum"].median())
    page.locator("input[type=search]").last.fill(f"momentum<{middle} complete")
    assert len(column(table, "optimizer.momentum")) == 3
    assert all(value < middle for value in column(table, "optimizer.momentum"))
    assert page.locator("svg.parallel polyline:not(.off)").count() == 3
    assert page.locator(".filter output").last.inner_text() == "3 of 6 trials"


def test_a_range_of_an_axis_chooses_trials(seen):
    page = seen.page
    axis = page.locator("svg.parallel rect.brush").first
    axis.scroll_into_view_if_needed()
    box = axis.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 1)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    kept = page.locator("svg.parallel polyline:not(.off)").count()
    assert 0 < kept < 6
    assert page.locator("table.trials").last.locator("tbody tr:not(.off)").count() == kept
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 20)
    assert page.locator("svg.parallel polyline:not(.off)").count() == 6


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_everybody_can_read_it(visit, small_file, scheme, viewport):
    if not AXE.exists():
        pytest.skip("npm install --no-save axe-core")
    page = visit(small_file.as_uri(), viewport=viewport, color_scheme=scheme).page
    page.evaluate(AXE.read_text())
    found = page.evaluate("() => axe.run({exclude: ['figure .paper']})")[
        "violations"
    ]  # pictures, of many parts
    serious = [
        f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in found if v["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_on_a_phone_nothing_hangs_over(visit, file):
    page = visit(file.as_uri(), viewport=PHONE).page
    assert page.evaluate("() => document.documentElement.scrollWidth") <= PHONE["width"]


def test_without_javascript_tables_and_figures_are_there(visit, file):
    page = visit(file.as_uri(), java_script_enabled=False).page
    assert page.locator("table.trials tbody tr").count() == 6 + 4 + 6
    assert page.locator("figure svg").count() == 5 + 2
    assert page.locator("noscript").first.is_visible()
    assert not page.locator(".filter").first.is_visible()


def test_what_comes_from_a_run_runs_nowhere(visit, finished, folder):
    """Not even with all of uPlot's and the page's own code at work on it."""
    nasty = "</script><script>alert(1)</script><img src=x onerror=alert(2)><svg onload=alert(3)>"
    run = folder / "<img src=x onerror=alert(4)>"
    shutil.copytree(finished, run)
    for name, word in (
        ("layers.csv", "dense_1"),
        ("layers.csv", "grad_norm"),
        ("metrics.csv", "weight_norm"),
    ):
        file = run / name
        file.write_text(file.read_text().replace(word, nasty))
    summary = json.loads((run / "summary.json").read_text())
    summary["gradient_flow"] |= {"verdict": nasty, "reason": nasty}
    (run / "summary.json").write_text(json.dumps(summary))
    report = nnlab.report(run, out="report.html")
    seen = visit(report.absolute().as_uri())
    assert seen.page.locator(".chart h4").count() == 4
    assert "<script>alert(1)" in seen.page.locator("#layers").inner_text()
    seen.page.locator(".layers .u-over").hover()
    seen.page.wait_for_timeout(300)
    assert seen.messages == []
    assert seen.requests == [report.absolute().as_uri()]


def test_curves_grow_as_they_are_followed(visit, finished, folder):
    """A run adds records, then ends; what its reader has chosen stays."""
    run = folder / "run"
    shutil.copytree(finished, run)
    summary = (run / "summary.json").read_text()
    (run / "summary.json").write_text('{"name": "tiny", "status": "running"}')
    lines = (run / "metrics.csv").read_text().splitlines(keepends=True)
    (run / "metrics.csv").write_text("".join(lines[:3]))
    command = [sys.executable, "-m", "nnlab", "watch", str(run)]
    steps = "() => document.querySelector('.charts .plot')?.nnlab.data[0].join() === '{}'"
    with (
        RunDirectory(run).held(),
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process,
        (run / "metrics.csv").open("a") as table,
    ):
        address = process.stdout.readline().split()[0]
        seen = visit(address)
        seen.page.wait_for_function(steps.format("0,5"))
        seen.page.locator(".legend button").first.click()
        for line, known in zip(lines[3:], ("0,5,10", "0,5,10,15", "0,5,10,15,20"), strict=True):
            table.write(line)
            table.flush()
            seen.page.wait_for_function(steps.format(known))
        assert seen.page.locator(".legend button").first.get_attribute("aria-pressed") == "false"
        assert seen.page.locator("#pulse").inner_text() == "following: step 20"
        (run / "summary.json").write_text(summary)
        seen.page.get_by_text("2 of 2 expectations hold").wait_for()
        assert seen.page.locator("figure svg").count() > 0
        assert seen.messages == []
        assert all(request.startswith(address) for request in seen.requests)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
