"""What `nnlab remove` removes, and all that it leaves alone."""

import json
import shutil

import pytest
from click.testing import CliRunner
from support import TINY, run_nnlab

import nnlab
from nnlab.cli.main import cli
from nnlab.runs.removal import removable
from nnlab.storage.run_directory import RunDirectory


@pytest.fixture
def results(folder, finished):
    for name in ("a", "b"):
        shutil.copytree(finished, folder / "results" / name)
    return folder / "results"


def left(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def answer(word, *arguments):
    return CliRunner().invoke(cli, ["remove", *map(str, arguments)], input=word)


def test_it_shows_what_it_would_remove_and_asks(results):
    size = sum(path.stat().st_size for path in (results / "a").rglob("*") if path.is_file())
    assert removable(results / "a").bytes == size
    before = left(results)
    for word in ("n\n", "\n"):
        result = answer(word, "results/a")
        assert result.exit_code == 0
        assert "results/a" in result.stdout
        assert "complete" in result.stdout
        assert f"{size / 1000:.3g} kB" in result.stdout
        assert result.stderr.endswith("nothing is removed\n")
        assert left(results) == before
    result = answer("", "results/a")
    assert result.exit_code == 2
    assert result.stderr.endswith("there is no answer; --yes removes without asking\n")
    assert left(results) == before
    assert answer("y\n", "results/a").exit_code == 0
    assert [path.name for path in results.iterdir()] == ["b"]


def test_conditions_choose(results):
    summary = json.loads((results / "b" / "summary.json").read_text())
    (results / "b" / "summary.json").write_text(json.dumps(summary | {"status": "diverged"}))
    result = run_nnlab("remove", "--where", "status=failed", "--yes")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "nothing is removed\n")
    result = run_nnlab("remove", "--where", "status=diverged", "--yes")
    assert result.stdout.splitlines()[-1].startswith("removed 1 directory, ")
    assert [path.name for path in results.iterdir()] == ["a"]


def test_what_is_damaged_is_removed_too(results):
    (results / "a" / "config.yaml").write_text("name: [")
    assert removable(results / "a").status == "damaged"
    (results / "b" / "summary.json").unlink()
    assert run_nnlab("remove", "results/a", "results/b", "results/a", "--yes").exit_code == 0
    assert left(results) == []


@pytest.mark.usefixtures("sweeps_here")
def test_a_sweep_is_removed_as_a_whole(folder):
    (folder / "tiny.yaml").write_text(TINY)
    out = folder / "results" / "swept"
    nnlab.sweep(nnlab.load("tiny.yaml", "model.width=2,3", axes=True), out, jobs=1, plots=False)
    trial = next((out / "trials").iterdir())
    result = run_nnlab("remove", trial, "--yes")
    assert (result.exit_code, result.stderr) == (2, f"{trial}: is a part of {out}; remove that\n")
    assert nnlab.remove(out).status == "complete"
    assert left(folder / "results") == []


def foreign(results):
    (results / "a").rename(results / "mine")
    (results / "mine" / "config.yaml").write_text("lr: 0.1\n")
    (results / "mine" / "environment.json").unlink()
    return results / "mine", "is no directory of a run or a sweep; nothing else is removed"


def no_run(results):
    (results / "notes").mkdir()
    return results / "notes", "is no directory of a run or a sweep; nothing else is removed"


def with_notes(results):
    (results / "a" / "notes.txt").write_text("mine")
    return results / "a", "holds 'notes.txt', which nnlab did not write; move it elsewhere first"


def with_own_table(results):
    (results / "a" / "my_notes.csv").write_text("mine")
    return results / "a", "holds 'my_notes.csv', which nnlab did not write; move it elsewhere first"


def with_own_figure(results):
    (results / "a" / "plots" / "mine.png").write_bytes(b"")
    return results / "a", "holds 'plots/mine.png', which nnlab did not write; move it elsewhere first"


def with_own_file_deep_inside(results):
    (results / "a" / "checkpoints" / "thesis.txt").write_text("mine")
    return results / "a", "holds 'checkpoints/thesis.txt', which nnlab did not write; move it elsewhere first"


def with_hidden_notes(results):
    (results / "a" / ".git").mkdir()
    return results / "a", "holds '.git', which nnlab did not write; move it elsewhere first"


def elsewhere(results):
    return shutil.move(results / "a", results.parent / "a"), "lies in no folder 'results'; remove it by hand"


def results_itself(results):
    return results, "lies in no folder 'results'; remove it by hand"


def linked(results):
    (results / "link").symlink_to(results / "a")
    return results / "link", "is a symbolic link, which is not followed; remove it by hand"


def missing(results):
    return results / "c", "no such run directory; `nnlab runs` lists them"


def a_file(results):
    (results / "c").write_text("")
    return results / "c", "no such run directory; `nnlab runs` lists them"


@pytest.mark.parametrize(
    "case",
    [
        foreign,
        no_run,
        with_notes,
        with_own_table,
        with_own_figure,
        with_own_file_deep_inside,
        with_hidden_notes,
        elsewhere,
        results_itself,
        linked,
        missing,
        a_file,
    ],
    ids=lambda case: case.__name__,
)
def test_all_else_is_left_alone(results, case):
    path, message = case(results)
    before = left(results.parent)
    result = run_nnlab("remove", path, results / "b", "--yes")
    assert result.exit_code == 2
    assert result.stderr == f"{path}: {message}\n"
    assert left(results.parent) == before, "and so is what could be removed beside it"
    with pytest.raises(nnlab.UsageError):
        nnlab.remove(path)


def test_no_link_on_the_way_is_followed(results):
    moved = results.parent / "moved"
    shutil.move(results / "a", moved / "a")
    (results / "study").symlink_to(moved)
    result = run_nnlab("remove", "results/study/a", "--yes")
    assert result.exit_code == 2
    assert result.stderr.endswith(
        "results/study: is a symbolic link, which is not followed; remove it by hand\n"
    )
    assert (moved / "a" / "config.yaml").exists()


def test_a_folder_of_results_may_be_a_link_and_what_links_lead_to_stays(results):
    moved = shutil.move(results, results.parent / "disk")
    results.symlink_to(moved)
    (results.parent / "precious").mkdir()
    (results.parent / "precious" / "file").write_text("")
    (moved / "a" / "plots" / "learning_rate.svg").symlink_to(results.parent / "precious")
    assert run_nnlab("remove", "results/a", "--yes").exit_code == 0
    assert [path.name for path in moved.iterdir()] == ["b"]
    assert (results.parent / "precious" / "file").exists()


def test_a_run_whose_plug_in_is_not_loaded_is_not_damaged(results):
    config = results / "a" / "config.yaml"
    config.write_text(config.read_text().replace("type: tanh", "type: mine").replace(": tanh", ": mine"))
    environment = json.loads((results / "a" / "environment.json").read_text())
    plugins = {"my_package": "1.0"}
    (results / "a" / "environment.json").write_text(json.dumps(environment | {"plugins": plugins}))
    before = left(results)
    assert "unloaded" in run_nnlab("runs", "results").stdout
    result = run_nnlab("remove", "results/a", "--yes")
    assert result.exit_code == 2
    assert result.stderr.endswith("; it was made with --import my_package\n")
    assert run_nnlab("remove", "--where", "status=damaged", "--yes").stderr == "nothing is removed\n"
    assert left(results) == before


def test_what_is_being_written_stays(results):
    before = left(results)
    with RunDirectory(results / "a").held():
        result = run_nnlab("remove", "results/a", "--yes")
        assert (result.exit_code, result.stderr) == (
            2,
            "results/a: a process is at work here; wait for it, or end it\n",
        )
    assert left(results) == before


@pytest.mark.parametrize(("status", "code"), [("complete", 0), ("running", 2)])
def test_a_run_of_another_host_may_go_once_it_has_ended(results, status, code):
    (results / "a" / ".lock").write_text("process 1 on another-host\n")
    summary = json.loads((results / "a" / "summary.json").read_text())
    (results / "a" / "summary.json").write_text(json.dumps(summary | {"status": status}))
    assert run_nnlab("remove", "results/a", "--yes").exit_code == code
    assert (results / "a").exists() == bool(code)


def test_without_a_name_nothing_is_meant(results):
    result = run_nnlab("remove", "--yes")
    assert (result.exit_code, result.stderr) == (
        2,
        "remove: name the directories of runs or sweeps, or choose them by --where\n",
    )
    result = run_nnlab("remove", "results/a", "--where", "seed=0", "--yes")
    assert (result.exit_code, result.stderr) == (
        2,
        "results/a: is a run; --where chooses among those of a folder\n",
    )
