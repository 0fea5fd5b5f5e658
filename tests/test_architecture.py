"""The architecture: imports go downward, heavy packages wait until they are needed, no code from files."""

import ast
import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "nnlab"
MODULES = sorted(PACKAGE.rglob("*.py"))

# from the top floor down; a room may import from lower floors, and from itself. docs/architecture.md draws it
FLOORS = [
    ["cli"],
    ["sweeps", "reports"],
    ["runs"],
    ["training"],
    ["phenomena"],
    ["optim"],
    ["config", "nn", "data", "plotting", "storage"],
    ["registry", "system"],
    ["errors", "text"],
]
FLOOR = {room: number for number, rooms in enumerate(reversed(FLOORS)) for room in rooms}
MOST_FLOORS, MOST_ARROWS, MOST_MODULES_AT_THE_TOP = 9, 79, 6


@functools.lru_cache(maxsize=1)
def parsed(path):
    return ast.parse(path.read_text())


def name_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path) for path in MODULES}


def room_of(module):
    """`nnlab.data.splits` is in the room `data`; the package itself is the front door, in no room."""
    return module.split(".")[1] if "." in module else ""


@functools.cache
def imports_of(path):
    """Every module imported anywhere in a file, but for type checking; `from package import module` too."""
    tree, found = parsed(path), []
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def own_imports(path):
    """Imported modules of nnlab; names imported from a module are that module."""
    return [name for name in imports_of(path) if name in NAMES]


def arrows():
    """(room, imported room) -> one import that makes the arrow."""
    found = {}
    for path in MODULES:
        here = room_of(name_of(path))
        for name in own_imports(path):
            there = room_of(name)
            if here in FLOOR and there in FLOOR and here != there:
                found.setdefault((here, there), f"{name_of(path)} imports {name}")
    return found


# the tests of one module follow one another, so that it is parsed once
modules = pytest.mark.parametrize("path", MODULES, ids=name_of, scope="module")


def test_every_room_has_its_floor():
    front = {"__main__"}
    assert {room_of(name_of(path)) for path in MODULES} - front - {""} == set(FLOOR)


def test_imports_go_downward():
    upward = {example for (here, there), example in arrows().items() if FLOOR[there] >= FLOOR[here]}
    assert upward == set()


def test_the_house_stays_small():
    found = arrows()
    height = dict.fromkeys(FLOOR, 1)
    for here in sorted(FLOOR, key=FLOOR.get):
        height[here] += max((height[there] for room, there in found if room == here), default=0)
    assert max(height.values()) <= MOST_FLOORS
    assert len(found) <= MOST_ARROWS
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_MODULES_AT_THE_TOP


@modules
def test_only_plotting_imports_matplotlib(path):
    if room_of(name_of(path)) != "plotting":
        heavy = {name.split(".")[0] for name in imports_of(path)} & {"matplotlib", "mpl_toolkits", "pylab"}
        assert heavy == set()


@modules
def test_training_and_storage_keep_to_their_own(path):
    """The compiled core never touches the disk, storage never knows a model."""
    roots = {name.split(".")[0] for name in imports_of(path)}
    name = name_of(path)
    if name in CORE:
        assert roots.isdisjoint({"pathlib", "os", "io", "json", "csv", "pandas", "rich", "click"})
        calls = {ast.unparse(node.func) for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)}
        assert calls.isdisjoint({"open", "print"})
    if name.startswith("nnlab.storage"):
        assert roots.isdisjoint({"jax", "optax"})


CORE = [
    f"nnlab.training.{module}"
    for module in (
        "loop",
        "chunk",
        "train_step",
        "evaluator",
        "recorder",
        "state",
        "lanes",
        "placement",
        "processes",
        "compilation",
    )
]


@modules
def test_nothing_runs_code_from_files(path):
    roots = {name.split(".")[0] for name in imports_of(path)}
    # one module calls one function of the C library, malloc_trim
    allowed = {"ctypes"} if name_of(path) == "nnlab.system.garbage" else set()
    assert {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "ctypes"} & roots <= allowed
    calls = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
    names = {ast.unparse(call.func) for call in calls}
    assert names.isdisjoint({"eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec"})
    assert names.isdisjoint(
        {"yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system", "pandas.read_pickle"}
    )
    for call in calls:
        for keyword in call.keywords:
            if keyword.arg == "allow_pickle":
                assert ast.unparse(keyword.value) == "False"
        if ast.unparse(call.func) in ("np.load", "numpy.load"):
            assert "allow_pickle" in {keyword.arg for keyword in call.keywords}


MOST_LINES = {ast.FunctionDef: 60, ast.AsyncFunctionDef: 60, ast.ClassDef: 150}
MOST_LINES_OF_A_MODULE, MOST_LINES_WITH_ANY = 400, 200
# names that the field has better ones for, or that say nothing
REPLACED = {
    "Facts", "Given", "Layout", "Order", "Position", "Resident", "Start", "ValueDoesNotFit", "Visited",
    "agenda", "begin", "bind", "caching", "come_out", "control", "disk", "drawn", "ended", "found",
    "judged_by", "judgement", "keeping", "lazy", "look", "made_by", "moved", "near_miss", "own", "pictures",
    "reads", "shared_by", "telling", "there", "transfer", "whole", "with_outsiders",
}  # fmt: skip


@modules
def test_modules_functions_and_classes_are_small(path):
    assert path.read_text().count("\n") <= MOST_LINES_OF_A_MODULE
    for node in ast.walk(parsed(path)):
        if type(node) in MOST_LINES:
            lines = node.end_lineno - node.lineno + 1
            assert lines <= MOST_LINES[type(node)], f"{node.name} has {lines} lines"


def test_types_are_seldom_any():
    lines = [line for path in MODULES for line in path.read_text().splitlines()]
    assert sum(bool(re.search(r"\bAny\b", line)) for line in lines) < MOST_LINES_WITH_ANY


@modules
def test_nothing_has_a_name_that_was_replaced(path):
    names = {path.stem}
    for node in ast.walk(parsed(path)):
        if type(node) in MOST_LINES:
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
    assert names & REPLACED == set()


NETWORK = {
    "socket", "socketserver", "ssl", "http", "urllib", "urllib3", "requests", "httpx", "aiohttp", "asyncio",
    "ftplib", "smtplib", "telnetlib", "xmlrpc", "webbrowser", "grpc", "zmq", "tornado", "flask", "fastapi",
    "sentry_sdk", "posthog", "segment", "analytics", "wandb", "mlflow", "opentelemetry", "pooch",
}  # fmt: skip


@modules
def test_nothing_listens_or_calls_home(path):
    """One module alone fetches: data sets, by known hashes, where they are missing. One alone listens: `nnlab
    watch`, on the loopback device, as long as it is asked to."""
    allowed = {"nnlab.data.datasets.fetch": {"pooch"}, "nnlab.reports.server": {"http", "urllib"}}
    names = {name.split(".")[0] for name in imports_of(path)}
    assert names & NETWORK <= allowed.get(name_of(path), set())


@modules
def test_what_is_written_goes_through_disk(path):
    """Whole or not there, and told of where it fails; a new experiment of the user's is made by `new`."""
    if name_of(path) in (
        "nnlab.system.files",
        "nnlab.storage.checkpoints",
    ):
        return
    for call in [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]:
        name = ast.unparse(call.func)
        assert not name.endswith((".write_text", ".write_bytes", ".mkdir", ".unlink", ".rmtree", ".touch"))
        words = [*call.args[:1], *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
        mode = "".join(str(word.value) for word in words if isinstance(word, ast.Constant))
        if name.endswith(".open") and (path.name, mode) not in OPENED:
            assert set(mode).isdisjoint("wax+"), f"{path}: {ast.unparse(call)}"


OPENED = [("train.py", "x"), ("main.py", "w")]  # new, /dev/null


GAUSSIAN = """\
name: gaussian
data: {type: gaussian, examples: 60, features: 5, classes: 3, normalize: standardize}
model: [{type: dense, units: 4}, batch_norm, relu, {type: dense, units: 3}]
optimizer: {type: adam, learning_rate: {type: cosine, peak: 0.1}}
train: {steps: 5}
phenomena: [gradient_flow]
"""
REPORT = """
import json, sys
from nnlab.cli.main import cli
try:
    cli(sys.argv[1:])
except SystemExit as leaving:
    code = leaving.code
print("\\n" + json.dumps([code, sorted({name.split(".")[0] for name in sys.modules})]))
"""


def loaded_by(*arguments):
    command = [sys.executable, "-c", REPORT, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    code, roots = json.loads(done.stdout.splitlines()[-1])
    assert not code, done.stderr
    return set(roots)


@pytest.mark.parametrize(
    ("arguments", "also_without"),
    [
        (["--help"], {"numpy", "pydantic", "yaml", "optax"}),
        (["train", "--help"], {"numpy", "pydantic", "yaml", "optax"}),
        (["sweep", "--help"], {"numpy", "pydantic", "yaml", "optax"}),
        (["--version"], {"numpy", "pydantic", "yaml", "optax"}),
        (["list"], {"optax", "sklearn"}),
        (["show", "layer", "dense"], {"optax", "sklearn"}),
        (["schema"], {"optax", "sklearn"}),
        (["validate", "gaussian.yaml"], {"optax", "sklearn"}),
        (["summary", "gaussian.yaml"], {"optax", "sklearn"}),
        (["sweep", "gaussian.yaml", "model.0.units=3,4", "--dry-run"], {"optax", "sklearn"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_quick_commands_import_nothing_heavy(arguments, also_without, folder):
    (folder / "gaussian.yaml").write_text(GAUSSIAN)
    heavy = {"jax", "jaxlib", "pandas", "matplotlib", "scipy", "optuna"} | also_without
    assert loaded_by(*arguments) & heavy == set()


def test_the_drawing_of_the_house_is_its_table():
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    drawn = {
        int(number): rooms.split()
        for number, rooms in re.findall(r"^ +(\d)  (\S+(?:  \S+)*) {3,}", text, re.MULTILINE)
    }
    assert [drawn[number] for number in sorted(drawn, reverse=True)] == FLOORS
