"""Damage a file of a finished run or sweep, and see that whatever reads it says so in a line.

Directories may come from elsewhere: cut off, edited by hand, or made to harm. For each case one is copied, a
file of it is damaged, and `check`, `runs`, `compare` and at times `plot` read it. They may answer or refuse:
in a few lines, with an exit code of 0, 1 or 2, within seconds, and without touching what lies beside it.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import random
import shutil
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from click.testing import CliRunner

from nnlab.config import check_tree
from nnlab.config.document import Document, dump
from nnlab.errors import ConfigError
from torture import Report

MOST_LINES = 10  # on stderr, of a command
LONGEST_LINE = 2_000
LONGEST = {"check": 5.0, "runs": 5.0, "compare": 5.0, "plot": 20.0}  # seconds
OUTSIDE = "outside"  # where a link of a run leads
UNSEEN = ("environment.json", "timing.csv", "train.log", "sweep.log")  # damaged as well, but seldom

SHIPPED = Path(__file__).parents[2] / "experiments" / "grokking_progress.yaml"  # grokking_mod31, from inside
FLOW = """\
name: flow
data: {type: xor, examples: 120, batch_size: 8}
augment: [noise]
model: {type: mlp, width: 4, depth: 2, activation: tanh, outputs: 2}
optimizer: {type: sgd, learning_rate: {type: range_test, low: 0.01, high: 1}}
train: {steps: 20, stop: [{type: early_stopping, patience: 50}]}
record: {every: {steps: 5}, predictions: true}
phenomena:
  [gradient_flow, symmetry, sparsity, incoming_norms, overfitting, training_mode, learning_rate_range,
  augmentations]
expect: {gradient_flow.first_to_last_ratio: {min: 0.0}, symmetry.herding: {equals: false}}
"""
WIDTHS = """\
name: widths
data: {type: modular_arithmetic, modulus: 5, split: {train: 0.6, validation: 0.4}, batch_size: full}
model: [{type: dense, units: 16}, square, {type: dense, units: 5}]
optimizer: {type: adamw, learning_rate: 0.01}
train: {steps: 60}
record: {log_spaced: 12, layers: false}
phenomena:
  - grokking
  - {type: grokking_delay, along: model.0.units}
  - {type: double_descent, capacity: model.0.units}
sweep: {axes: {model.0.units: [2, 8, 16]}, seeds: 2}
expect: {grokking.final_train_accuracy: {min: 0}, double_descent.rise: {max: 9}}
"""
DEGREES = """\
name: degrees
data: {type: wave, examples: 8, test_examples: 20}
model: [{type: legendre, degree: 4}, {type: dense, units: 1, use_bias: false}]
loss: squared_error
solver: least_squares
record: {every: {epochs: 1}, predictions: true}
phenomena:
  - {type: double_descent, capacity: model.0.degree}
  - {type: bias_variance, capacity: model.0.degree}
sweep: {axes: {model.0.degree: [1, 8, 20]}, seeds: 2}
"""
RAVINE = """\
name: ravine
data: {type: ravine, batch_size: full}
model: [{type: dense, units: 1, use_bias: false}]
loss: squared_error
optimizer: {type: sgd, learning_rate: 1.5}
train: {steps: 20}
record: {every: {steps: 2}}
phenomena:
  - trajectory
  - {type: trajectories, along: optimizer}
sweep: {axes: {optimizer: [sgd, {type: sgd, momentum: 0.5}]}}
"""
RATES = """\
name: rates
data: {type: xor, examples: 60, batch_size: 8}
model: {type: mlp, width: 4, depth: 1, outputs: 2}
train: {epochs: 4}
phenomena:
  - {type: comparison, along: optimizer, metric: train_loss, level: 0.6, tuned: optimizer.learning_rate}
sweep: {axes: {optimizer: [sgd, {type: sgd, momentum: 0.5}], optimizer.learning_rate: [0.3, 1.5]}}
"""
FOLDS = """\
name: folds
data: {type: xor, examples: 60, batch_size: 8, split: {test: 20, folds: 3, fold: 0}}
model: {type: mlp, width: 4, depth: 1, outputs: 2}
train: {epochs: 4}
phenomena: [cross_validation]
sweep: {axes: {data.split.fold: [0, 1, 2]}}
"""
VOTES = """\
name: votes
data: {type: mnist1d, examples: 50, batch_size: 10}
model: {type: mlp, width: 4, depth: 1}
train: {epochs: 2}
record: {every: {epochs: 1}, predictions: true}
phenomena: [voting]
sweep: {seeds: 3}
"""
LOOKED = """\
name: looked
data: {type: mnist1d, examples: 50, batch_size: 10}
model: [{type: conv1d, filters: 2, size: 3}, relu, flatten, {type: dense, units: 10}]
train: {epochs: 2}
record: {every: {epochs: 1}}
phenomena: [{type: confusion, examples: 4}, filters, feature_maps, embeddings, translation]
"""
CODE = """\
name: code
data: {type: mnist1d, examples: 50, batch_size: 10, reconstruct: true}
model: [{type: dense, units: 3}, {type: dense, units: 40}]
loss: squared_error
train: {epochs: 2}
record: {every: {epochs: 1}}
phenomena: [{type: reconstructions, noise: 0.1}]
"""
FIGURES = {
    "flow": "training_curves gradient_over_time depth_profile histograms activation_slope flat_units "
    "unit_spread learning_rate sparsity incoming_norms overfitting training_mode learning_rate_range "
    "augmentations",
    "looked": "confusion_matrix misclassified filters feature_maps embeddings translation",
    "code": "reconstructions",
    "ravine": "trajectories",
    "rates": "comparison",
    "folds": "cross_validation",
    "votes": "voting",
    "grokking": "training_curves grokking progress_measures embedding_spectrum answers",
    "widths": "grokking_delay double_descent epochs_by_capacity",
    "degrees": "double_descent fitted_functions bias_variance",
}


def nnlab(*words: object) -> Any:
    from nnlab.cli.main import cli

    return CliRunner().invoke(cli, [str(word) for word in words])


def make(folder: Path) -> dict[str, Path]:
    """A few small finished directories, by name."""
    texts = {"flow": FLOW, "looked": LOOKED, "code": CODE, "widths": WIDTHS, "degrees": DEGREES}
    texts |= {"ravine": RAVINE, "rates": RATES, "folds": FOLDS, "votes": VOTES}
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    commands = {
        **{name: ["train", folder / f"{name}.yaml"] for name in ("flow", "looked", "code")},
        "grokking": ["train", SHIPPED, "train.steps=40", "record.log_spaced=6"],
        "widths": ["sweep", folder / "widths.yaml", "--jobs", 1],
        **{
            n: ["sweep", folder / f"{n}.yaml", "--jobs", 1]
            for n in ("degrees", "ravine", "rates", "folds", "votes")
        },
    }
    for name, words in commands.items():
        result = nnlab(*words, "--out", folder / name, "--no-plots", "--quiet")
        assert result.exit_code in (0, 1), (result.stderr, result.exception)  # 1: cut short, it does not grok
        assert (folder / name / "summary.json").exists(), result.exception
        shutil.rmtree(folder / name / "checkpoints", ignore_errors=True)
    return {name: folder / name for name in commands}


# --- damage ----------------------------------------------------------------------------------------------

Damage = Callable[[bytes, random.Random], bytes]

SNIPPETS = (
    *(b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\x1b[31m", b"\r", b"\n\n", b'"', b",", b"'"),
    *(
        b"{",
        b"[" * 3_000,
        b"nan",
        b"1e999",
        b"-1",
        b"9" * 5_000,
        b"a" * 100_000,
        b"\xe2\x80\xa8",
        b"$",
        b"$\\",
    ),
)
TEXTS = (
    "",
    "a",
    "=1+1",
    "../../..",
    "/etc",
    "\x1b[31m",
    "$",
    r"$\frac$",
    "é" * 3,
    "a\nb",
    "x" * 50_000,
    "nan",
)
NUMBERS = (0, -1, 1, 2, 0.5, 1e-300, 1e300, -1e300, 2**31, 2**63, 10**40, 10**400, 10**4_000)
CELLS = ("", "1e999", "-1e999", "nan", "NULL", "True", "1;2", "0x1F", "1,5", "9" * 25, "9" * 400, *TEXTS)


def bytes_damaged(content: bytes, pick: random.Random) -> bytes:
    """Flipped, cut, cut out, put in, doubled, or emptied."""
    at = pick.randrange(len(content) + 1)
    to = min(len(content), at + pick.choice((1, 2, 30, 1_000)))
    what = pick.randrange(6)
    if what == 0:
        flipped = bytearray(content)
        for _ in range(pick.choice((1, 1, 5, 50)) if content else 0):
            flipped[pick.randrange(len(content))] ^= 1 << pick.randrange(8)
        return bytes(flipped)
    if what == 1:
        return content[:at]
    if what == 2:
        return content[:at] + content[to:]
    if what == 3:
        return content[:at] + pick.choice(SNIPPETS) + content[at:]
    return content[:to] + content[at:] if what == 4 else pick.choice((b"", b"\n", b"\0" * 500))


def any_value(pick: random.Random) -> Any:
    """A value as it might stand in JSON."""
    deep: Any = []
    for _ in range(pick.choice((3, 60, 600))):
        deep = [deep] if pick.random() < 0.5 else {"a": deep}
    plain = (None, True, False, [], {}, [1, "a"], {"a": {"b": 1}}, float("nan"), float("inf"), deep)
    return pick.choice((*plain, *TEXTS, *NUMBERS, "complete", "running", {"": None}, [[]] * 2_000))


def places(tree: Any, deep: int = 5) -> list[tuple[Any, Any]]:
    """Each container of a tree with each of its keys, down to some depth."""
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    below = [place for key in keys for place in places(tree[key], deep - 1)] if deep else []
    return [(tree, key) for key in keys] + below


def json_damaged(content: bytes, pick: random.Random) -> bytes:
    """Values replaced, keys dropped or added."""
    tree = json.loads(content)
    for _ in range(pick.choice((1, 1, 1, 4))):
        within, key = pick.choice(places(tree) or [({"a": 1}, "a")])
        what = pick.randrange(4)
        if what == 0:
            within.pop(key)
        elif what == 1 and isinstance(within, dict):
            within[pick.choice(("status", "trials", "final", "best", "a", "x" * 9_000))] = any_value(pick)
        else:
            within[key] = any_value(pick)
    return json.dumps(any_value(pick) if pick.random() < 0.03 else tree).encode()


def cells_damaged(rows: list[list[str]], pick: random.Random) -> None:
    """One cell, some, or all of a column replaced, or a column made all different."""
    column = pick.randrange(len(rows[0]))
    what, below = pick.randrange(4), range(1, len(rows))
    chosen = below if what > 1 else pick.sample(below, min(len(below), 1 + 4 * what))
    cell = pick.choice((*CELLS, *map(str, NUMBERS[:-1])))
    apart = pick.choice(
        (str, lambda row: f"name {row}", lambda row: str(10**row % 10**17), lambda row: str(-row))
    )
    for row in chosen:
        if column < len(rows[row]):
            rows[row][column] = apart(row) if what == 3 else cell


def columns_damaged(rows: list[list[str]], pick: random.Random) -> None:
    """A column dropped, renamed, doubled, or exchanged for another."""
    column, other, what = pick.randrange(len(rows[0])), pick.randrange(len(rows[0])), pick.randrange(4)
    for number, row in enumerate(rows):
        if len(row) <= max(column, other):
            continue  # was cut off
        if what == 0:
            row.pop(column)
        elif what == 1 and number == 0:
            row[column] = pick.choice((*TEXTS, rows[0][other], "step"))
        elif what == 2:
            row.append(row[column])
        elif what == 3 and number:
            row[column], row[other] = row[other], row[column]


def rows_damaged(rows: list[list[str]], pick: random.Random) -> None:
    """Rows dropped, doubled, out of order, of another length, many, or none."""
    what, at = pick.randrange(8), pick.randrange(len(rows))
    below = rows[1:]
    if what < 2:
        below = [row for row in below if pick.random() < 0.5]
    elif what == 2:
        below += [list(row) for row in below[at:]]
    elif what == 3:
        pick.shuffle(below)
    elif what == 4:
        below = [row[: pick.randrange(len(row) + 1)] if pick.random() < 0.2 else row for row in below]
    elif what == 5:
        below = [row + ["1"] * pick.randrange(3) for row in below]
    else:
        below = [] if what == 6 else [row for row in below for _ in range(50)]
    rows[1:] = below


def csv_damaged(content: bytes, pick: random.Random) -> bytes:
    """Cells, columns or rows that are not as they were."""
    rows = list(csv.reader(io.StringIO(content.decode())))
    if len(rows) < 2:
        return b""
    for _ in range(pick.choice((1, 1, 1, 2))):
        pick.choice((cells_damaged, cells_damaged, columns_damaged, rows_damaged))(rows, pick)
        if not rows[0]:
            break
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


PHENOMENA: list[Any] = [
    *("gradient_flow", "symmetry", "grokking", "answers", {"type": "progress_measures", "keys": 10**6}),
    *(
        {"type": "grokking_delay", "along": path}
        for path in ("model.0.units", "seed", "a.b", "model.0.degree")
    ),
    *({"type": "double_descent", "capacity": path} for path in ("epochs", "model.0.units", "data.examples")),
    *(
        {"type": "double_descent", "capacity": "epochs", "metric": m, "statistic": "median"}
        for m in ("error", "loss")
    ),
    {"type": "bias_variance", "capacity": "model.0.units"},
]
EXCHANGED: dict[str, list[Any]] = {  # what a key of a config may be instead
    "name": ["a", "x" * 80],
    "phenomena": [[], *([phenomenon] for phenomenon in PHENOMENA), PHENOMENA[:5], PHENOMENA],
    "solver": ["least_squares", None],
    "loss": ["squared_error", "cross_entropy", "hinge"],
    "sweep": [
        None,
        {"axes": {}, "seeds": 3},
        {"axes": {"model.0.units, train.steps": [1, 2]}},
        {"axes": {"final.train_loss": [1, 2, 3]}},
        {"axes": {"model.0.units": [2, 8, 16], "train.steps": [1, 2]}, "seeds": [7, 9]},
        {"zip": {"model.0.degree": [1, 8], "optimizer.learning_rate": [1, 2]}},
    ],
    "expect": [
        {},
        {"status": {"equals": "complete"}, "final.train_loss": {"max": 1e308}, "final.a": {"equals": "a"}},
        {"double_descent.verdict": {"min": 0}, "a.b": {"equals": True}, "best.value": {"min": -1e308}},
        {"trial": {"equals": "a"}, "seed": {"min": 0}, "model.0.units": {"max": 3}, "reason": {"equals": 0}},
    ],
}


def config_damaged(content: bytes, pick: random.Random) -> bytes:
    """Another config than the one that the tables are of; mostly a legal one."""
    tree = yaml.load(content, yaml.SafeLoader)
    for _ in range(pick.choice((1, 1, 2))):
        if pick.random() < 0.7:
            key = pick.choice(list(EXCHANGED))
            tree[key] = pick.choice(EXCHANGED[key])
        else:
            within, key = pick.choice(places(tree))
            within[key] = (
                any_value(pick) if pick.random() < 0.4 else pick.choice((0, 1, 2, 7, 0.5, None, True, "relu"))
            )
    with contextlib.suppress(ConfigError):  # that will refuse it
        tree = check_tree(Document(tree, {}, {}, "")).tree
    try:
        return dump(tree).encode(errors="surrogatepass")
    except (RecursionError, yaml.YAMLError):
        return b"name: a"


BY_SUFFIX: dict[str, Damage] = {".json": json_damaged, ".csv": csv_damaged, ".yaml": config_damaged}


def exchanged(file: Path, pick: random.Random) -> str:
    """Something else in the file's place; what."""
    what = pick.choice(
        ("folder", "dangling link", "link to itself", "pipe", "endless device", "nothing", "unreadable")
    )
    if what == "unreadable":
        file.chmod(0)
        return what
    file.unlink()
    if what == "folder":
        file.mkdir()
    elif what == "pipe":
        os.mkfifo(file)
    elif what != "nothing":
        target = {"dangling link": "gone", "link to itself": file.name, "endless device": "/dev/zero"}[what]
        file.symlink_to(target)
    return what


def damaged(file: Path, pick: random.Random) -> str:
    """Damage a file; how."""
    kind = pick.random()
    if kind < 0.08:
        return exchanged(file, pick)
    damage = bytes_damaged if kind < 0.3 or file.suffix not in BY_SUFFIX else BY_SUFFIX[file.suffix]
    file.write_bytes(damage(file.read_bytes(), pick))
    return damage.__name__.replace("_", " ")


# --- judgement -------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """A damaged copy: of which directory, where, which file, and how."""

    name: str
    place: Path
    file: Path
    how: str


def begin(whole: dict[str, Path], at: Path, pick: random.Random) -> Case:
    """Copy one of the directories and damage one or two of its files."""
    name = pick.choice(list(whole))
    place = at / "damaged"
    shutil.copytree(whole[name], place)
    files = sorted(path for path in place.rglob("*") if path.is_file())
    heavy = [8 if file.parent == place else 1 for file in files]
    weights = [1 if file.name in UNSEEN else 4 * weight for file, weight in zip(files, heavy, strict=True)]
    file = pick.choices(files, weights)[0]
    how = damaged(file, pick)
    if pick.random() < 0.1:
        (at / OUTSIDE).mkdir()
        (place / "plots").symlink_to(at / OUTSIDE)
    return Case(name, place, file, f"{name}/{file.relative_to(place)}: {how}")


def commands(case: Case, whole: dict[str, Path], pick: random.Random, plots: bool) -> list[list[object]]:
    """What reads the damaged copy."""
    within = case.file.parent
    beside = whole[case.name] / within.relative_to(case.place)
    words: list[list[object]] = [
        ["check", case.place],
        ["runs", case.place.parent],
        ["compare", beside, within],
    ]
    if plots:
        named = pick.choice(["", *FIGURES[case.name].split()])
        words.append(["plot", case.place, *(["--figure", named] if named else [])])
        if pick.random() < 0.3:
            words[-1].insert(1, whole[case.name])
            words[-1] += ["--out", case.place.parent / "drawn"]
    return words


def wrong(words: Sequence[object], timed: bool) -> str:
    """What is wrong with how a command answers; empty where nothing is. timed: also if it took too long."""
    began = time.monotonic()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        result = nnlab(*words)
    took = time.monotonic() - began
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return f"{type(result.exception).__name__}: {str(result.exception)[:300]}"
    if result.exit_code not in (0, 1, 2):
        return f"left with {result.exit_code}"
    lines = result.stderr.splitlines()
    if result.exit_code == 2 and not lines:
        return "refused without a word"
    if len(lines) > MOST_LINES or any(len(line) > LONGEST_LINE for line in lines):
        return (
            f"{len(lines)} lines, the longest of {max(map(len, lines))} characters: {result.stderr[:300]!r}"
        )
    if "Traceback" in result.stderr or not all(line.isprintable() for line in lines):
        return f"said {result.stderr[:300]!r}"
    if warned:
        return f"warned: {str(warned[0].message)[:300]}"
    return f"took {took:.1f} s" if timed and took > LONGEST[str(words[0])] else ""


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """What is in a folder, and when it was last touched."""
    found = {path: path.lstat() for path in folder.rglob("*")}
    return {str(path): (state.st_mtime_ns, state.st_size) for path, state in found.items()}


def hostile(folder: Path, cases: int, seed: int = 0, plots_every: int = 10, timed: bool = True) -> Report:
    """So many damaged directories, of which every `plots_every`th is drawn as well; a case is the same
    whichever came before it."""
    whole = make(folder)
    before = {name: contents(place) for name, place in whole.items()}
    bad = []
    for number in range(cases):
        pick = random.Random(f"{seed} {number}")
        at = folder / "cases"
        at.mkdir()
        case = begin(whole, at, pick)
        for words in commands(case, whole, pick, plots=number % plots_every == 0):
            reason = wrong(words, timed)
            if reason:
                bad.append(f"seed {seed}, case {number}, {case.how}, {words[0]}: {reason}")
        if (at / OUTSIDE).exists() and any((at / OUTSIDE).iterdir()):
            bad.append(f"seed {seed}, case {number}, {case.how}: wrote through a link")
        shutil.rmtree(at)
    bad += [f"{name} itself was changed" for name in whole if contents(whole[name]) != before[name]]
    return Report(cases, bad)
