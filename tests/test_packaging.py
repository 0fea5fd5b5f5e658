"""What pip and uv install: the wheel made of the source distribution, used where this repository is not."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

import nnlab

ROOT = Path(__file__).parent.parent
EXPERIMENTS = {path.name for path in (ROOT / "experiments").glob("*.yaml")}
BUILD = "from setuptools import build_meta; build_meta.build_{}({!r})"


def build(what, source, place):
    """Build a distribution of a folder without a download; returns the file."""
    command = [sys.executable, "-c", BUILD.format(what, str(place))]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (file,) = place.glob("*.tar.gz" if what == "sdist" else "*.whl")
    return file


@pytest.fixture(scope="module")
def source_distribution(tmp_path_factory):
    source = tmp_path_factory.mktemp("source") / "nnlab"
    left_out = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "results")
    shutil.copytree(ROOT, source, symlinks=True, ignore=left_out)
    return build("sdist", source, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(source_distribution, tmp_path_factory):
    place = tmp_path_factory.mktemp("wheel")
    with tarfile.open(source_distribution) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # which 3.11.2 does not have yet
        archive.extractall(place)
    return build("wheel", place / f"nnlab-{nnlab.__version__}", place)


def package_files():
    """The files of the package in this repository, with the shipped experiments."""
    package = ROOT / "nnlab"
    files = {path.relative_to(ROOT).as_posix() for path in package.rglob("*") if path.is_file()}
    shipped = {f"nnlab/shipped/{name}" for name in (*EXPERIMENTS, "__init__.py")}
    return {name for name in files if "__pycache__" not in name} | shipped


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    described = {name for name in names if name.split("/")[0] == f"nnlab-{nnlab.__version__}.dist-info"}
    assert names - described == package_files()
    assert {name.rpartition("/")[2] for name in described} >= {"LICENSE", "METADATA", "entry_points.txt"}
    assert "nnlab/py.typed" in names


def test_the_source_distribution_holds_what_builds_the_wheel(source_distribution):
    with tarfile.open(source_distribution) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= package_files() | {"pyproject.toml", "README.md", "LICENSE"}
    folders = {name.split("/")[0] for name in names if "/" in name}
    assert folders == {"nnlab", "nnlab.egg-info"}


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder of commands of an environment in which the wheel is installed; what it needs is borrowed."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, symlinks=True)
    python = place / "bin" / "python"
    words = ["--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run([sys.executable, "-m", "pip", *map(str, words)], check=True)
    (site,) = place.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"])
    return place / "bin"


def test_a_new_user_lists_writes_and_trains_an_experiment(installed, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*words):
        command = [installed / words[0], *words[1:]]
        options = {"capture_output": True, "text": True, "timeout": 120, "check": False, "env": environment}
        done = subprocess.run(command, cwd=tmp_path, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert str(installed.parent) in run("python", "-c", "import nnlab; print(nnlab.__file__)")
    listed = run("nnlab", "new")
    assert all(name.removesuffix(".yaml") in listed for name in EXPERIMENTS)
    run("nnlab", "new", "xor_mlp")
    shipped = (ROOT / "experiments" / "xor_mlp.yaml").read_text(encoding="utf-8")
    assert (tmp_path / "xor_mlp.yaml").read_text(encoding="utf-8").endswith(shipped)
    assert "verdict" in run("nnlab", "train", "xor_mlp.yaml", "--no-plots")


def test_the_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == nnlab.__version__
    assert citation["authors"]
    assert citation["license"] == "Apache-2.0"


def test_the_container_is_built_from_files_that_are_there():
    """The Dockerfile copies what .dockerignore lets through."""
    copied = re.findall(r"^COPY (.*) \S+$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    names = {name for words in copied for name in words.split()}
    kept = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    assert names == set(kept)
    assert all((ROOT / name).exists() for name in names)
