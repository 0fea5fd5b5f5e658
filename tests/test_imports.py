"""The architecture: imports go downward, heavy packages wait until they are needed, no code from files."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "nnlab"
MODULES = sorted(PACKAGE.rglob("*.py"))

# from the bottom up; a module may import what lies in a lower row, and its own package
LAYERS = [
    ["nnlab"],  # __init__: the version
    ["nnlab.errors", "nnlab.lazy", "nnlab.randomness"],
    ["nnlab.registry", "nnlab.device", "nnlab.disk"],
    ["nnlab.config"],
    ["nnlab.nn"],
    [
        "nnlab.data",
        "nnlab.losses",
        "nnlab.regularizers",
        "nnlab.constraints",
        "nnlab.augmentation",
        "nnlab.optimizers",
        "nnlab.stopping",
        "nnlab.solvers",
        "nnlab.search",
        "nnlab.plotting",
    ],
    ["nnlab.probes", "nnlab.memory", "nnlab.predictions", "nnlab.checkpoints"],
    ["nnlab.phenomena", "nnlab.transfer"],
    ["nnlab.experiment"],
    ["nnlab.states"],
    ["nnlab.store", "nnlab.steps", "nnlab.caching"],
    ["nnlab.train", "nnlab.results"],
    ["nnlab.closed_form", "nnlab.judgement", "nnlab.keeping"],
    ["nnlab.runner", "nnlab.figures"],
    ["nnlab.sweep"],
    ["nnlab.cli"],
    ["nnlab.__main__"],
]
HOME = {name: row for row, names in enumerate(LAYERS) for name in names}


def name_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def home_of(module):
    """The entry of LAYERS that a module belongs to."""
    while module not in HOME:
        module, dot, _ = module.rpartition(".")
        assert dot, "give the module a row in LAYERS"
    return module


def imports_of(path):
    """Every module imported anywhere in a file, but for type checking; `from package import module` too."""
    tree = ast.parse(path.read_text())
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
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(path):
    """Imported modules of nnlab; names imported from a module are that module."""
    known = {name_of(module) for module in MODULES}
    for name in imports_of(path):
        if name.split(".")[0] == "nnlab" and name in known:
            yield name


modules = pytest.mark.parametrize("path", MODULES, ids=name_of)


@modules
def test_imports_go_downward(path):
    here = name_of(path)
    home = home_of(here)
    if here == "nnlab":
        assert list(own_imports(path)) == []
        return
    for imported in own_imports(path):
        if imported == "nnlab":  # `from nnlab import x` names the package beside its module x
            continue
        there = home_of(imported)
        assert there == home or HOME[there] < HOME[home], f"{here} imports {imported}, which is not below it"


def test_every_layer_exists():
    known = {home_of(name_of(path)) for path in MODULES}
    assert known == set(HOME)


@modules
def test_only_plotting_imports_matplotlib(path):
    if name_of(path) != "nnlab.plotting":
        heavy = {name.split(".")[0] for name in imports_of(path)} & {"matplotlib", "mpl_toolkits", "pylab"}
        assert heavy == set()


@modules
def test_train_and_store_keep_to_their_own(path):
    """train and its steps never touch the disk, store never knows a model."""
    roots = {name.split(".")[0] for name in imports_of(path)}
    if name_of(path) in ("nnlab.train", "nnlab.steps"):
        assert roots.isdisjoint({"pathlib", "os", "io", "json", "csv", "pandas", "rich", "click"})
        calls = {
            ast.unparse(n.func) for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)
        }
        assert calls.isdisjoint({"open", "print"})
    if name_of(path) == "nnlab.store":
        assert roots.isdisjoint({"jax", "optax", "pandas"})
        assert set(own_imports(path)) <= {"nnlab", "nnlab.errors", "nnlab.disk"}


@modules
def test_nothing_runs_code_from_files(path):
    tree = ast.parse(path.read_text())
    roots = {name.split(".")[0] for name in imports_of(path)}
    assert roots.isdisjoint({"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "ctypes"})
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
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


NETWORK = {
    "socket", "socketserver", "ssl", "http", "urllib", "urllib3", "requests", "httpx", "aiohttp", "asyncio",
    "ftplib", "smtplib", "telnetlib", "xmlrpc", "webbrowser", "grpc", "zmq", "tornado", "flask", "fastapi",
    "sentry_sdk", "posthog", "segment", "analytics", "wandb", "mlflow", "opentelemetry", "pooch",
}  # fmt: skip


@modules
def test_nothing_listens_or_calls_home(path):
    """One module alone fetches: data sets, by known hashes, where they are missing."""
    allowed = {"pooch"} if name_of(path) == "nnlab.data.fetching" else set()
    assert {name.split(".")[0] for name in imports_of(path)} & NETWORK <= allowed


@modules
def test_what_is_written_goes_through_disk(path):
    """Whole or not there, and told of where it fails; a new experiment of the user's is made by `new`."""
    if name_of(path) in ("nnlab.disk", "nnlab.checkpoints", "nnlab.store", "nnlab.plotting"):
        return
    for call in [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]:
        name = ast.unparse(call.func)
        assert not name.endswith((".write_text", ".write_bytes", ".mkdir", ".unlink", ".rmtree", ".touch"))
        words = [*call.args[:1], *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
        mode = "".join(str(word.value) for word in words if isinstance(word, ast.Constant))
        if name.endswith(".open") and (path.name, mode) not in OPENED:
            assert set(mode).isdisjoint("wax+"), f"{path}: {ast.unparse(call)}"


OPENED = [("run_commands.py", "x"), ("engine.py", "ab"), ("__init__.py", "w")]  # new, sweep.log, /dev/null


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
from nnlab.cli import cli
try:
    cli(sys.argv[1:])
except SystemExit as leaving:
    code = leaving.code
print("\\n" + json.dumps([code, sorted({name.split(".")[0] for name in sys.modules})]))
"""


def loaded_by(*arguments):
    command = [sys.executable, "-c", REPORT, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
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
