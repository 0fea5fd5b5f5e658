"""The public API in a notebook: a real kernel runs it, and the page that comes out shows what it returned."""

import subprocess
import sys

import nbformat
from support import TINY

CELLS = [
    "import nnlab",
    "run = nnlab.train(nnlab.load('tiny.yaml'), out='run')\nrun",
    "run.figure('training_curves')",
    "run.predict([[0.0, 1.0]]).shape",
    "nnlab.sweep(nnlab.load('tiny.yaml', '+sweep={seeds: 2}'), out='sweep', plots=False)",
    "nnlab.load('tiny.yaml', 'optimizer.learning_rat=1')",
]


def test_a_notebook_shows_runs_sweeps_figures_and_errors(folder):
    (folder / "tiny.yaml").write_text(TINY)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    nbformat.write(notebook, folder / "tour.ipynb")
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--execute", "--allow-errors", "tour.ipynb"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (folder / "tour.html").read_text()
    assert page.count('src="data:image/png') == 1
    assert "<b>tiny</b>, complete at step 20" in page
    assert "gradient_flow.first_to_last_ratio" in page
    assert "(1, 2)" in page
    assert "2 trials" in page
    assert "did you mean 'learning_rate'?" in page
