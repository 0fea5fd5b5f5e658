"""Sphinx builds the pages without a warning."""

import shutil
import subprocess
import sys

import pytest

from documentation.markdown import ROOT

pytest.importorskip("sphinx", reason="the extra docs is not installed")


def test_the_pages_are_built_without_a_warning(tmp_path):
    docs = tmp_path / "docs"
    shutil.copytree(ROOT / "docs", docs, ignore=shutil.ignore_patterns("reference", "__pycache__"))
    for name in ("experiments", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    words = ["-m", "sphinx", "-q", "-W", "--keep-going", "-n", "docs", "pages"]
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == 0
    for name in (
        "index",
        "tutorial",
        "lectures",
        "reference/layer",
        "reference/commands",
        "reference/python",
    ):
        assert (tmp_path / "pages" / f"{name}.html").exists()
