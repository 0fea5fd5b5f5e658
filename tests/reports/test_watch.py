"""nnlab watch: the report of what goes on, for a browser on this machine and nobody else."""

import contextlib
import html
import http.client
import json
import shutil
import socket
import subprocess
import sys
import threading
import urllib.request

import pytest

from nnlab.reports import live, server
from nnlab.reports.live import LivePage
from nnlab.runs.results import open as open_result
from nnlab.storage.run_directory import RunDirectory


@pytest.fixture
def begun(finished, folder):
    """A run that has its first two records."""
    shutil.copytree(finished, folder / "run")
    (folder / "run" / "summary.json").write_text('{"name": "tiny", "status": "running"}')
    for name, rows in (("metrics", 2), ("layers", 6)):
        file = folder / "run" / f"{name}.csv"
        file.write_text("".join(file.read_text().splitlines(keepends=True)[: rows + 1]))
    return folder / "run"


@pytest.fixture
def run(begun):
    """A run that goes on, with its first two records."""
    with RunDirectory(begun).held():  # as who trains it does
        yield begun


def rest_of(finished, name, run):
    """What is yet to be written of a table."""
    return (finished / f"{name}.csv").read_text().removeprefix((run / f"{name}.csv").read_text())


def steps_of(news):
    return news["data"]["groups"]["runs"]["charts"][0]["bundles"][0]["steps"]


def test_news_come_as_the_tables_grow(run, finished):
    page = LivePage(run)
    first = json.loads(page.news(""))
    assert (steps_of(first), first["goes_on"], first["progress"]) == ([0, 5], True, "step 5")
    assert page.news(str(first["number"])) is None
    with (run / "metrics.csv").open("a") as table:
        table.write(rest_of(finished, "metrics", run))
    second = json.loads(page.news(str(first["number"])))
    assert (steps_of(second), second["page"]) == ([0, 5, 10, 15, 20], first["page"])
    (run / "summary.json").write_text((finished / "summary.json").read_text())
    last = json.loads(page.news(str(second["number"])))
    assert (last["goes_on"], last["page"] > first["page"]) == (False, True)
    assert "expectations hold" in page.html()
    assert "<figure>" in page.html()


def test_the_trials_of_a_sweep_come_as_they_begin_and_end(swept, folder):
    """Trials as they are written: none, then one that goes on, then all as trials.csv has them."""
    shutil.copytree(swept, folder / "sweep")
    trials = folder / "sweep" / "trials"
    table = (folder / "sweep" / "trials.csv").read_text()
    (folder / "sweep" / "trials.csv").unlink()
    summary = (folder / "sweep" / "summary.json").read_text()
    (folder / "sweep" / "summary.json").write_text('{"name": "hostile", "status": "running", "trials": 2}')
    trials.rename(folder / "later")
    with RunDirectory(folder / "sweep").held():
        page = LivePage(folder / "sweep")
        first = json.loads(page.news(""))
        assert (first["data"]["groups"], first["progress"]) == ({}, "0 trials have begun")
        (folder / "later").rename(trials)
        second = json.loads(page.news(str(first["number"])))
        assert second["progress"] == "8 trials have begun"
        assert sorted(second["data"]["groups"]["sweep-0"]["runs"]) == sorted(p.name for p in trials.iterdir())
        (folder / "sweep" / "trials.csv").write_text(table)
        (folder / "sweep" / "summary.json").write_text(summary)
        third = json.loads(page.news(str(second["number"])))
        assert (third["progress"], third["goes_on"]) == ("8 of 8 trials have ended", False)
        assert third["data"]["groups"]["sweep-0"]["runs"][0] == "width 2, learning rate 0.1, batch size 4"
        lines = [chart["bundles"] for chart in third["data"]["groups"]["sweep-0"]["charts"]]
        assert all(len(bundles) == 8 for bundles in lines)


def test_while_it_is_half_replaced_the_page_stays(run):
    page = LivePage(run)
    (run / "summary.json").write_text("{")
    news = json.loads(page.news(""))
    assert "damaged" in news["progress"]
    assert steps_of(news) == [0, 5]


def test_what_is_written_while_it_is_read_is_seen_at_the_next_look(run, finished, monkeypatch):
    def open_as_it_ends(path):
        result = open_result(path)
        (run / "summary.json").write_text((finished / "summary.json").read_text())
        return result

    monkeypatch.setattr(live, "open_result", open_as_it_ends)
    page = LivePage(run)
    assert not json.loads(page.news(""))["goes_on"]


def test_a_run_that_was_killed_does_not_go_on(begun):
    with RunDirectory(begun).held():
        page = LivePage(begun)
        first = json.loads(page.news(""))
        assert first["goes_on"]
    second = json.loads(page.news(str(first["number"])))
    assert (second["goes_on"], second["page"] > first["page"]) == (False, True)
    assert "interrupted" in page.html()
    assert page.news(str(second["number"])) is None
    with RunDirectory(begun).held():  # it is resumed
        assert json.loads(page.news(str(second["number"])))["goes_on"]


def test_a_directory_that_is_removed_is_said_once(run):
    page = LivePage(run)
    first = json.loads(page.news(""))
    run.rename(run.with_name("elsewhere"))
    second = json.loads(page.news(str(first["number"])))
    assert (second["goes_on"], second["progress"]) == (
        False,
        f"{run}: no such run directory; `nnlab runs` lists them",
    )
    assert page.news(str(second["number"])) is None
    run.with_name("elsewhere").rename(run)
    third = json.loads(page.news(str(second["number"])))
    assert (third["goes_on"], third["progress"]) == (True, "step 5")


@pytest.fixture
def asked(run):
    """Asks a server of the run: method, path, headers -> the response and its body."""
    with server._server(LivePage(run), 0) as serving:
        threading.Thread(target=serving.serve_forever, args=(0.01,), daemon=True).start()
        port = serving.server_port

        def ask(path, method="GET", host=None):
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
                connection.putrequest(method, path, skip_host=True)
                connection.putheader("Host", host or f"127.0.0.1:{port}")
                connection.endheaders()
                response = connection.getresponse()
                return response, response.read().decode()

        ask.port = port
        yield ask
        serving.shutdown()


def test_it_serves_the_page_and_the_news(asked):
    response, body = asked("/")
    assert (response.status, "data-live" in body) == (200, True)
    assert "connect-src 'self'" in html.unescape(body)
    response, body = asked("/news?seen=")
    number = json.loads(body)["number"]
    response, body = asked(f"/news?seen={number}")
    assert (response.status, body) == (204, "")
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1"])
def test_by_another_name_nobody_gets_anything(asked, host):
    for path in ("/", "/news?seen="):
        response, body = asked(path, host=host.format(port=asked.port))
        assert (response.status, len(body) < 100) == (403, True)
    assert asked("/", host=f"localhost:{asked.port}")[0].status == 200


@pytest.mark.parametrize("path", ["/config.yaml", "/../run/config.yaml", "/static/page.js", "/%2e%2e/"])
def test_there_is_nothing_else(asked, path):
    response, _ = asked(path)
    assert response.status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(asked, method):
    assert asked("/", method=method)[0].status == 501


def test_it_listens_on_the_loopback_device_alone(asked, run):
    with server._server(LivePage(run), 0) as serving:
        assert serving.server_address[0] == "127.0.0.1"


def test_a_port_that_is_taken_costs_a_line(run, nnlab):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = nnlab("watch", run, "--port", port)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"--port {port}: cannot be listened on: ")
    assert result.stderr.count("\n") == 1


def test_what_is_no_run_costs_a_line(folder, nnlab):
    (folder / "file").write_text("")
    (folder / "other").mkdir()
    (folder / "other" / "notes.txt").write_text("")
    for name, words in (("file", "is a file"), ("other", "holds no run and no sweep")):
        result = nnlab("watch", name)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert result.stderr.startswith(f"{name}: {words}")


def test_ctrl_c_ends_it_and_leaves_nothing(folder, run):
    """It waits for a run to begin, serves it, and is ended."""
    before = sorted(run.iterdir())
    later = folder / "later"
    command = [sys.executable, "-m", "nnlab", "watch", "later"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert (
            process.stdout.readline() == "later: nothing there yet; waiting for a run or a sweep to begin\n"
        )
        run.rename(later)
        address = process.stdout.readline().split()[0]
        with urllib.request.urlopen(address, timeout=20) as response:
            assert response.status == 200
        process.send_signal(2)
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (0, "", "")
    assert [path.name for path in sorted(later.iterdir())] == [path.name for path in before]
