"""`seed: random`: a seed that is drawn when the file is read, and saved as its number."""

import pytest
from support import run_nnlab

import nnlab
from nnlab.errors import UsageError
from nnlab.sweeps.plan import fresh_plan
from nnlab.sweeps.trials import trials_of

TREE = {
    "name": "tiny",
    "seed": "random",
    "data": {"type": "xor", "examples": 20},
    "model": [{"type": "dense", "units": 2}],
    "train": {"steps": 2},
}


def test_each_reading_is_a_run_of_its_own_that_its_saved_config_repeats(tmp_path):
    configs = [nnlab.experiment(TREE) for _ in range(3)]
    assert len({config.directory_name for config in configs}) == 3
    config, seed = configs[0], configs[0].tree["seed"]
    assert 0 <= seed < 2**32
    lines = []
    run = nnlab.train(config, tmp_path / "run", plots=False, notify=lines.append)
    assert f"note: seed {seed} was drawn" in lines[0]
    saved = nnlab.load(run.path / "config.yaml")
    assert (saved.tree["seed"], saved.hash, saved.notes) == (seed, config.hash, ())
    assert nnlab.experiment({**TREE, "seed": seed}).hash == config.hash


def test_an_override_draws_one_too_and_a_number_takes_its_place(tmp_path):
    file = tmp_path / "tiny.yaml"
    file.write_text(nnlab.experiment({**TREE, "seed": 5}).text)
    assert nnlab.load(file).notes == ()
    drawn = nnlab.load(file, "seed=random", smoke=True)
    assert drawn.notes[0].startswith(f"seed {drawn.tree['seed']} was drawn")
    with pytest.raises(nnlab.ConfigError, match="seed takes a whole number"):
        nnlab.load(file, "seed=randon")


def test_a_sweep_counts_from_the_seed_that_was_drawn_and_tells_it_once():
    config = nnlab.experiment({**TREE, "sweep": {"seeds": 3, "axes": {"model.0.use_bias": [True, False]}}})
    first = config.tree["seed"]
    trials = trials_of(config)
    assert [trial.seed for trial in trials] == [first, first + 1, first + 2] * 2
    assert all(trial.config.notes == () for trial in trials)
    assert fresh_plan(config).notes == list(config.notes)


def test_several_processes_need_a_number(tmp_path):
    with pytest.raises(UsageError, match="process: each process would draw a seed of its own"):
        nnlab.train(nnlab.experiment(TREE), tmp_path / "run", process="0/2@localhost:9")
    with pytest.raises(UsageError, match="join: each process would draw a seed of its own"):
        nnlab.sweep(nnlab.experiment({**TREE, "sweep": {"seeds": 2}}), tmp_path / "sweep", join=True)
    assert not list(tmp_path.iterdir())


def test_the_plan_of_a_training_shows_the_number(tmp_path):
    file = tmp_path / "tiny.yaml"
    file.write_text(nnlab.experiment({**TREE, "seed": 5}).text.replace("seed: 5", "seed: random"))
    told = run_nnlab("train", str(file), "--dry-run")
    assert told.exit_code == 0
    seed = next(line for line in told.stdout.splitlines() if line.startswith("seed: ")).split()[1]
    assert seed.isdecimal()
    assert f"note: seed {seed} was drawn" in told.stderr
