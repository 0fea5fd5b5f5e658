"""Plug-ins: installed packages and `--import` modules bring components, by name, version and source."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from support import TINY

LAYER = '''
import jax.numpy as jnp
from nnlab.nn.layer import Layer, Output, Setup, layer


@layer
def {name}(times: float = 2.0) -> Layer:
    """Every value `times` as large."""

    def apply(params, state, x, *, key, train):
        return Output(x * jnp.float32(times))

    return Layer(lambda shape: Setup(shape), apply)
'''
EXPERIMENT = """\
name: extended
data: {type: xor, examples: 40}
model: [enlarge, {type: dense, units: 2}]
train: {steps: 6}
record: {every: {steps: 2}}
"""


@pytest.fixture
def nnlab(folder, nnlab_process):
    """`nnlab ...` in a process that finds the packages of the folder `installed`."""
    (folder / "experiment.yaml").write_text(EXPERIMENT)

    def run(*arguments, **variables):
        path = os.pathsep.join([str(folder / "installed"), os.environ.get("PYTHONPATH", "")])
        return nnlab_process(*arguments, env={**os.environ, "PYTHONPATH": path, **variables})

    return run


def install(folder, distribution, module, source, version="1.2"):
    """A package of one module that registers components, as pip would leave it."""
    place = folder / "installed"
    metadata = place / f"{distribution.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    (metadata / "entry_points.txt").write_text(f"[nnlab.components]\nanything = {module}\n")
    (place / f"{module}.py").write_text(source)


def refused(result):
    """The one line that is said."""
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    return line


def results_of(folder):
    (place,) = (folder / "results").iterdir()
    return place


def test_an_installed_package_brings_a_layer(folder, nnlab):
    install(folder, "nnlab-extras", "extra_layers", LAYER.format(name="enlarge"))
    assert "Every value `times` as large. [nnlab-extras 1.2]" in nnlab("list", "layer").stdout
    assert "Comes from nnlab-extras 1.2." in nnlab("show", "layer", "enlarge").stdout
    assert '"const": "enlarge"' in nnlab("schema").stdout
    information = nnlab("info").stdout
    assert "plug-in extra_layers" in information
    assert "nnlab-extras 1.2" in information
    trained = nnlab("train", "experiment.yaml", "--quiet")
    assert trained.returncode == 0, trained.stderr
    loaded = json.loads((results_of(folder) / "environment.json").read_text())["plugins"]
    assert loaded["extra_layers"]["name"] == "nnlab-extras"
    assert loaded["extra_layers"]["version"] == "1.2"
    assert len(loaded["extra_layers"]["sha256"]) == 64


def test_entry_points_can_be_turned_off(folder, nnlab):
    install(folder, "nnlab-extras", "extra_layers", LAYER.format(name="enlarge"))
    assert "unknown layer 'enlarge'" in refused(nnlab("validate", "experiment.yaml", NNLAB_PLUGINS="0"))


def test_a_run_without_plug_ins_says_nothing_of_any(folder, nnlab):
    (folder / "tiny.yaml").write_text(TINY)
    trained = nnlab("train", "tiny.yaml", "--quiet", "--no-plots")
    assert trained.returncode == 0, trained.stderr
    assert "plugins" not in json.loads((results_of(folder) / "environment.json").read_text())


@pytest.mark.parametrize(("name", "other"), [("dense", "nnlab 0.1.0"), ("enlarge", "nnlab-extras 1.2")])
def test_a_name_that_is_taken_is_an_error_that_names_both(folder, nnlab, name, other):
    install(folder, "nnlab-extras", "extra_layers", LAYER.format(name="enlarge"))
    install(folder, "nnlab-more", "more_layers", LAYER.format(name=name), version="0.3")
    line = refused(nnlab("list", "layer"))
    assert line.startswith("nnlab-more: its plug-in more_layers cannot be imported: ")
    assert line.endswith(f"layer '{name}' is registered twice, by {other} and by nnlab-more 0.3")


@pytest.mark.parametrize("source", ["import no_such_module", "1 / 0", "def", "exit()"])
def test_a_plug_in_that_cannot_be_imported_is_a_line(folder, nnlab, source):
    install(folder, "nnlab-extras", "extra_layers", source)
    assert refused(nnlab("list")).startswith("nnlab-extras: its plug-in extra_layers cannot be imported: ")


TWICE = """
from nnlab.errors import PluginError
from nnlab.registry import components
for _ in range(2):
    try:
        components("layer")
    except PluginError as error:
        print(error)
"""


def test_a_plug_in_that_breaks_off_is_told_alike_each_time(folder):
    install(folder, "nnlab-extras", "extra_layers", LAYER.format(name="enlarge") + "1 / 0\n")
    path = os.pathsep.join([str(folder / "installed"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", TWICE]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    first, second = done.stdout.splitlines()
    assert first == second
    assert first.endswith("cannot be imported: ZeroDivisionError: division by zero")


def test_a_module_beside_the_experiment(folder, nnlab):
    (folder / "my_layers.py").write_text(LAYER.format(name="enlarge"))
    line = refused(nnlab("validate", "experiment.yaml"))
    assert "unknown layer 'enlarge'; where a plug-in registers it, --import MODULE loads that" in line
    checked = nnlab("validate", "experiment.yaml", "--import", "my_layers")
    assert checked.returncode == 0, checked.stderr
    assert "[my_layers " in nnlab("list", "layer", "--import", "my_layers").stdout


def test_runs_are_listed_with_its_components(folder, nnlab):
    (folder / "my_layers.py").write_text(LAYER.format(name="enlarge"))
    assert nnlab("train", "experiment.yaml", "--import", "my_layers", "--quiet").returncode == 0
    assert "complete" in nnlab("runs", "--import", "my_layers").stdout
    assert "unloaded" in nnlab("runs").stdout


DETECTOR = """
from typing import NamedTuple
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import RunPhenomenon, phenomenon


class Nothing(NamedTuple):
    number: float


def detect(run):
    raise InvalidValue("there is nothing to see")


@phenomenon
def nothing() -> RunPhenomenon:
    return RunPhenomenon(result=Nothing, detect=detect, figures={})
"""


def test_a_detector_that_finds_nothing_says_so_in_the_summary(folder, nnlab):
    (folder / "my_detector.py").write_text(DETECTOR)
    (folder / "experiment.yaml").write_text(EXPERIMENT.replace("enlarge", "relu") + "phenomena: [nothing]\n")
    trained = nnlab("train", "experiment.yaml", "--import", "my_detector", "--no-plots")
    assert trained.returncode == 0, trained.stderr
    summary = json.loads((results_of(folder) / "summary.json").read_text())
    assert summary["nothing"] == {"number": None, "reason": "there is nothing to see"}
    assert " nothing " in nnlab("list", "phenomenon", "--import", "my_detector").stdout


def test_a_module_that_is_not_there(nnlab):
    line = refused(nnlab("validate", "experiment.yaml", "--import", "my_layers"))
    assert line == "--import my_layers cannot be imported: ModuleNotFoundError: No module named 'my_layers'"


def test_a_module_that_imports_jax_does_not_settle_the_platform(folder, nnlab):
    (folder / "my_layers.py").write_text(LAYER.format(name="enlarge"))
    trained = nnlab(
        "train", "experiment.yaml", "--import", "my_layers", "--platform", "gpu", JAX_PLATFORMS="cpu"
    )
    assert refused(trained).startswith("--platform gpu: JAX finds no such device here")


def test_workers_of_a_sweep_load_it(folder, nnlab):
    (folder / "my_layers.py").write_text(LAYER.format(name="enlarge"))
    words = ["experiment.yaml", "model.0.times=1.0,3.0", "--import", "my_layers", "--jobs", "2"]
    swept = nnlab("sweep", *words, "--quiet", "--no-plots")
    assert swept.returncode == 0, swept.stderr
    trials = list((results_of(folder) / "trials").iterdir())
    assert len(trials) == 2
    for trial in trials:
        assert "my_layers" in json.loads((trial / "environment.json").read_text())["plugins"]


SCRIPT = """
import nnlab
{before}
experiment = nnlab.load("experiment.yaml", "sweep.seeds=2", axes=True)
try:
    print(nnlab.sweep(experiment, "swept", jobs=1, plots=False).status)
except nnlab.UsageError as error:
    print(error)
"""


def test_workers_load_the_module_that_a_script_imported(folder):
    (folder / "my_layers.py").write_text(LAYER.format(name="enlarge"))
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(before="import my_layers")], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("complete\n", "")


def test_a_component_of_the_script_itself_is_refused_before_anything_runs(folder):
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    script = SCRIPT.format(before=LAYER.format(name="enlarge"))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "defined in the script or notebook itself" in done.stdout
    assert not (folder / "swept").exists()


def test_a_module_that_changed_is_drift(folder, nnlab):
    (folder / "my_layers.py").write_text(LAYER.format(name="enlarge"))
    words = ["train", "experiment.yaml", "--import", "my_layers", "--quiet", "--no-plots"]
    assert nnlab(*words, "--checkpoint-every", "0").returncode == 0
    summary = results_of(folder) / "summary.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"status": "interrupted"}))
    with (folder / "my_layers.py").open("a") as module:
        module.write("# another\n")
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)
    line = refused(nnlab(*words))
    assert "plug-in my_layers" in line
    assert nnlab(*words, "--allow-drift").returncode == 0
    drifts = json.loads((results_of(folder) / "environment.json").read_text())["drift"]
    assert [drift["what"] for drift in drifts] == ["plug-in my_layers"]


CELLS = """
import nnlab
from nnlab.registry import build, plugins

for factor in (2, 3):
    @nnlab.register("activation")
    def enlarged(z, /):
        return factor * z

print(build("activation", "enlarged")(1), list(plugins()))
try:
    build("activation", "unknown")
except nnlab.NnlabError as error:
    print(error)
"""


def test_a_cell_of_a_notebook_may_run_again():
    command = [sys.executable, "-c", CELLS]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [
        "3 ['__main__']",
        "activation 'unknown' is not known here; import the module that registers it",
    ]
