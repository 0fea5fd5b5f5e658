"""The page of a run or a sweep that goes on, served to a browser on this machine, and to nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from nnlab.errors import UsageError
from nnlab.reports.live import LivePage

HOST = "127.0.0.1"
WAIT_SECONDS = 0.5  # between two looks for a run that is yet to begin
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",  # the page has the rest itself
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def watch(path: str | Path, port: int = 0, say: Callable[[str], None] = print) -> None:
    """Serve the report of a run or a sweep while it goes on, on this machine alone, until Ctrl-C.

    Nothing is written. Where nothing is at the path yet, it waits for a run or a sweep to begin there.

    Args:
        path: The directory.
        port: Of the loopback device; 0 takes a free one.
        say: Called with the address, and with a line if it has to wait.

    Raises:
        UsageError: The path holds something else, or a damaged run; the port is taken.
        KeyboardInterrupt: It was ended.
    """
    directory = Path(path)
    _wait_for(directory, say)
    with _server(LivePage(directory), port) as server:
        say(f"http://{HOST}:{server.server_port}/ follows {directory}; Ctrl-C ends it")
        server.serve_forever(poll_interval=0.1)


def _wait_for(directory: Path, say: Callable[[str], None]) -> None:
    """Wait until a run or a sweep begins in a directory. Raises UsageError where it holds something else."""
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"{directory}: is a file; name the directory of a run or a sweep")
    has_said = False
    while not (directory / "summary.json").exists():
        others = [entry.name for entry in directory.iterdir()] if directory.is_dir() else []
        begun = {"config.yaml", "sweep.yaml", "environment.json"} & set(others)
        if not begun and any(not name.startswith(".") and name != "sweep.log" for name in others):
            raise UsageError(f"{directory}: holds no run and no sweep; `nnlab runs` lists them")
        if not has_said:
            say(f"{directory}: nothing there yet; waiting for a run or a sweep to begin")
            has_said = True
        time.sleep(WAIT_SECONDS)


def _server(page: LivePage, port: int) -> _Server:
    """A server that listens on the loopback device. Raises UsageError where the port cannot be had."""
    try:
        return _Server((HOST, port), page)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"--port {port}: cannot be listened on: {reason}; leave it out for a free one"
        ) from None


class _Server(ThreadingHTTPServer):
    """A server of one page."""

    def __init__(self, address: tuple[str, int], page: LivePage) -> None:
        self.page = page
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    """Answers who asks for the page, or for what has changed, by the address that was printed."""

    server: _Server
    server_version, sys_version = "nnlab", ""
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        """Answer a request."""
        port = self.server.server_port
        address = urlsplit(self.path)
        if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):  # another name leads here
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", "ask for the address that nnlab watch printed\n")
        elif address.path == "/":
            self._answer(HTTPStatus.OK, "text/html", self.server.page.html())
        elif address.path == "/news":
            seen = parse_qs(address.query).get("seen", [""])[0]
            news = self.server.page.news(seen)
            status = HTTPStatus.NO_CONTENT if news is None else HTTPStatus.OK
            self._answer(status, "application/json", news or "")
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", "there is only /\n")

    def _answer(self, status: HTTPStatus, form: str, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{form}; charset=utf-8")
        if status is not HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(content)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing of requests."""
