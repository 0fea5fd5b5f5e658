"""What an editor shows of an experiment file: the real yaml-language-server, driven over its protocol."""

import json
import re
import shutil
import subprocess

import pytest
from support import run_nnlab

SERVER = shutil.which("yaml-language-server")
pytestmark = pytest.mark.skipif(
    SERVER is None, reason="yaml-language-server is not installed (npm install -g yaml-language-server)"
)
SETTINGS = {"hover": True, "completion": True, "validate": True, "schemaStore": {"enable": False}}


class LanguageServer:
    """The server, as an editor talks to it: JSON-RPC, each message after its length."""

    def __init__(self, folder):
        self.folder, self.requests, self.problems = folder, 0, {}
        self.process = subprocess.Popen([SERVER, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        capabilities = {"workspace": {"configuration": True}}
        self.ask("initialize", {"processId": None, "rootUri": folder.as_uri(), "capabilities": capabilities})
        self.send({"method": "initialized", "params": {}})

    def send(self, message):
        content = json.dumps({"jsonrpc": "2.0"} | message).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(content) + content)
        self.process.stdin.flush()

    def receive(self):
        length = 0
        while line := self.process.stdout.readline().strip():
            if line.startswith(b"Content-Length:"):
                length = int(line.split(b":")[1])
        message = json.loads(self.process.stdout.read(length))
        if message.get("method") == "textDocument/publishDiagnostics":
            problems = message["params"]["diagnostics"]
            self.problems[message["params"]["uri"]] = [problem["message"] for problem in problems]
        elif message.get("method") == "workspace/configuration":
            items = message["params"]["items"]
            self.send(
                {
                    "id": message["id"],
                    "result": [SETTINGS if i.get("section") == "yaml" else {} for i in items],
                }
            )
        elif "method" in message and "id" in message:
            self.send({"id": message["id"], "result": None})
        return message

    def ask(self, method, parameters):
        self.requests += 1
        self.send({"id": self.requests, "method": method, "params": parameters})
        while (message := self.receive()).get("id") != self.requests or "method" in message:
            pass
        return message["result"]

    def open(self, name, text):
        path = self.folder / name
        path.write_text(text)
        document = {"uri": path.as_uri(), "languageId": "yaml", "version": 1, "text": text}
        self.send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        return path.as_uri()

    def at(self, method, name, text):
        """What it says at the mark `|` of a text."""
        before = text.partition("|")[0]
        position = {"line": before.count("\n"), "character": len(before.rsplit("\n", 1)[-1])}
        uri = self.open(name, text.replace("|", "", 1))
        return self.ask(f"textDocument/{method}", {"textDocument": {"uri": uri}, "position": position})

    def problems_of(self, name, text):
        uri = self.open(name, text)
        while uri not in self.problems:
            self.receive()
        return self.problems.pop(uri)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder as `nnlab new` leaves it."""
    folder = tmp_path_factory.mktemp("editor")
    for name in ("grokking_mod31", "grokking_mod31_no_decay", "double_descent_mnist1d"):
        assert run_nnlab("new", name, "--out", folder / f"{name}.yaml").exit_code == 0
    return folder


@pytest.fixture(scope="module")
def server(home):
    server = LanguageServer(home)
    yield server
    server.process.kill()
    server.process.communicate()


def test_it_finds_the_schema_and_no_fault_with_what_is_shipped(server, home):
    for file in sorted(home.glob("*.yaml")):
        text = file.read_text()
        assert server.problems_of(f"copy_of_{file.name}", text) == []
        problems = server.problems_of(f"wrong_{file.name}", text.replace("expect:", "expct:"))
        assert any("expct" in problem for problem in problems)


@pytest.mark.parametrize(
    ("marked", "says"),
    [
        ("weight_|decay", "Decoupled|decay"),
        ("opti|mizer:", "How weights follow the gradient"),
        ("ba|tch_size", "Examples in a step"),
        ("mod|ulus", "a prime from 2"),
        ("rec|ord:", "When to record"),
        ("gr|okking]", "delay|memor"),
    ],
)
def test_hovering_explains_a_key(server, home, marked, says):
    text = (home / "grokking_mod31.yaml").read_text()
    plain = marked.replace("|", "")
    assert text.count(plain) >= 1
    shown = server.at("hover", f"hover_{re.sub('[^a-z]', '_', marked)}.yaml", text.replace(plain, marked, 1))
    assert re.search(says, shown["contents"]["value"]), shown


@pytest.mark.parametrize(
    ("old", "new", "offered", "not_offered"),
    [
        # inside braces, from the first letter on
        ("weight_decay: 1.0}", "w|}", {"weight_decay", "b1", "epsilon"}, {"momentum", "units"}),
        ("units: 128,", "u|,", {"units", "bias_init"}, {"filters"}),
        (
            "{type: adamw, learning_rate: 0.01, b2: 0.98, weight_decay: 1.0}",
            "|",
            {"sgd", "adamw", "lion"},
            {"dense"},
        ),
        ("phenomena:", "reg|\nphenomena:", {"regularizers", "augment", "precision"}, {"units"}),
        (
            "loss: {type: squared_error, outputs: sum}",
            "loss: {type: squared_error, outputs: |}",
            {"mean", "sum"},
            set(),
        ),
    ],
)
def test_completion_knows_the_component(server, home, old, new, offered, not_offered):
    text = (home / "grokking_mod31.yaml").read_text()
    assert old in text
    found = server.at("completion", f"complete_{len(old)}.yaml", text.replace(old, new, 1))
    labels = {item["label"].strip() for item in found["items"]}
    assert labels >= offered
    assert not labels & not_offered


def test_completion_in_a_file_with_a_base(server, home):
    """Where the type is the base's, the keys of all of its kind are offered."""
    text = (home / "grokking_mod31_no_decay.yaml").read_text()
    found = server.at("completion", "of_base.yaml", text.replace("weight_decay: 0.0", "w|"))
    assert {"weight_decay", "momentum"} <= {item["label"] for item in found["items"]}
