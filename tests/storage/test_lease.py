"""Leases: one holder at a time, taken over from the dead, and no write by who has lost one."""

import os
import threading
import time

import numpy as np
import pytest

from nnlab.storage import lease as leases
from nnlab.storage.lease import Lease, LeaseLostError, signs_of_life
from nnlab.storage.run_directory import RunDirectory
from nnlab.system.files import FileDigest


@pytest.fixture
def clock(tmp_path):
    (tmp_path / "clock").write_text("")
    return tmp_path / "clock"


@pytest.fixture
def place(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def take(place, clock):
    return lambda is_gone=False: leases.take(place, clock, lambda _: is_gone)


def make_old(lease, seconds=leases.STALE_SECONDS + 1):
    """As if its holder had given its last sign of life so long ago."""
    then = time.time() - seconds
    os.utime(lease.folder / "holder", (then, then))


def left_by(place):
    return {path.relative_to(place): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_one_has_it_and_is_named(take, place, clock):
    lease = take()
    assert lease.is_held
    assert take() is None
    found = leases.holder(place, clock)
    assert found.process == f"process {os.getpid()} on {os.uname().nodename}"
    assert found.content == lease.content
    assert 0 <= found.seconds < 5


def test_it_is_taken_over_from_one_that_gives_no_sign_of_life(take):
    first = take()
    make_old(first, leases.STALE_SECONDS - 5)
    assert take() is None
    make_old(first)
    second = take()
    assert (first.is_held, second.is_held) == (False, True)
    assert second.folder.name == ".lease-0002"
    with pytest.raises(LeaseLostError, match="another process has taken over here"):
        first.check()
    second.check()


def test_it_is_taken_over_from_one_that_is_known_to_be_gone(take):
    first, second = take(), take(is_gone=True)
    assert (first.is_held, second.is_held) == (False, True)


def test_what_was_given_up_is_free_and_leaves_nothing(take, place):
    first, second = take(), take(is_gone=True)
    first.release()  # it is not its own any longer
    assert second.is_held
    second.release()
    assert list(place.iterdir()) == []
    third = take()
    assert third.folder == first.folder
    assert (first.is_held, third.is_held) == (False, True)


def test_one_that_is_about_to_say_who_it_is_has_it(take, place):
    (place / ".lease-0001").mkdir(parents=True)
    assert take() is None
    then = time.time() - leases.STALE_SECONDS - 1
    os.utime(place / ".lease-0001", (then, then))
    assert take().folder.name == ".lease-0002"


def test_a_link_in_its_place_is_not_followed(take, place, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "holder").write_text("precious")
    place.mkdir()
    (place / ".lease-0003").symlink_to(tmp_path / "mine")
    make_old(Lease(place / ".lease-0003", ""))
    take().release()
    assert (tmp_path / "mine" / "holder").read_text() == "precious"


def test_of_many_at_once_one_gets_it_however_often(take):
    last = take()
    for _ in range(20):
        make_old(last)
        barrier, taken = threading.Barrier(8), []

        def compete(barrier=barrier, taken=taken):
            barrier.wait()
            taken.append(take())

        threads = [threading.Thread(target=compete) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (last,) = [lease for lease in taken if lease is not None]
        assert last.is_held


def test_signs_of_life_keep_it(take, place, clock):
    lease = take()
    with signs_of_life([lease], stale_seconds=0.06):
        make_old(lease)
        while leases.holder(place, clock).seconds > 5:
            time.sleep(0.01)
    assert take() is None
    assert lease.is_held


# --- a directory that is covered -------------------------------------------------------------------------

ROWS = {"step": np.arange(3)}
WRITES = {
    "create": lambda run: run.create("name: y\n", {}),
    "write": lambda run: run.write("config.yaml", "name: y\n"),
    "write_json": lambda run: run.write_json("summary.json", {"status": "complete"}),
    "append": lambda run: run.append("metrics", ROWS),
    "sync": lambda run: run.sync(),
    "log": lambda run: run.log("a line"),
}


def begun(place, lease):
    run = RunDirectory(place, lease)
    run.create("name: x\n", {"threads": 1})
    run.append("metrics", ROWS)
    return run


@pytest.mark.parametrize("name", WRITES)
def test_who_has_lost_it_writes_nothing(name, take, place):
    run = begun(place, take())
    take(is_gone=True)
    before = left_by(place)
    with pytest.raises(LeaseLostError, match=f"{place}: another process has taken over here"):
        WRITES[name](run)
    run.close()
    assert left_by(place) == before


def test_rows_of_who_slept_since_it_looked_reach_no_table(take, place, monkeypatch):
    """It fell asleep between its look at the lease and the write."""
    asleep = begun(place, take())
    digest = asleep.sync()["metrics"]
    run = RunDirectory(place, take(is_gone=True))
    run.create("name: x\n", {"threads": 1}, tables={"metrics": FileDigest(*digest)})
    monkeypatch.setattr(Lease, "check", lambda lease: None)
    asleep.append("metrics", {"step": np.full(3, 999)})
    run.append("metrics", {"step": np.arange(3, 6)})
    for each in (asleep, run):
        each.close()
    assert (place / "metrics.csv").read_text() == "step\n0\n1\n2\n3\n4\n5\n"
