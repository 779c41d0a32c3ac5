"""Whatever breaks while a study runs on a cluster, its table is the undisturbed one, trial by
trial, and MLflow holds one finished run for each.

Every fault comes at a random moment. `make faults` runs all of them under FAULT_SEEDS seeds and
says how many were survived; otherwise the storms run alone, which are several faults in one study.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fault_bench import Bench, Driver, Study
from services import MlflowServer

from study.storage.lock import StorageLockedError
from study.storage.store import Store

pytestmark = [pytest.mark.ray, pytest.mark.services, pytest.mark.slow]

SEEDS = int(os.environ.get("FAULT_SEEDS", "0"))

Fault = Callable[[Bench, Study, random.Random], None]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with pytest.MonkeyPatch.context() as patch:
        bench = Bench(tmp_path_factory.mktemp("faults"), patch)
        try:
            yield bench
        finally:
            print(f"\n{bench.summary()}")
            bench.close()


def some_packs(study: Study, driver: Driver, rng: random.Random) -> None:
    """Waits for a random moment of a run, its start-up included."""
    if rng.random() < 0.2:
        time.sleep(rng.uniform(0, 8))
    else:
        study.wait_for_packs(len(study.store.pack_ids()) + rng.randint(0, 2), driver)
        time.sleep(rng.uniform(0, 1.5))


def worker_killed(bench: Bench, study: Study, rng: random.Random) -> None:
    driver = study.start()
    for _ in range(2):
        while not bench.workers() and driver.process.poll() is None:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 2))
        if bench.kill_a_worker(rng):
            bench.inject("worker killed")
    assert driver.wait() == 0, driver.said


def node_removed(bench: Bench, study: Study, rng: random.Random) -> None:
    driver = study.start()
    some_packs(study, driver, rng)
    bench.remove_node(rng.choice(bench.nodes))
    bench.inject("node removed")
    assert driver.wait() == 0, driver.said


def node_added(bench: Bench, study: Study, rng: random.Random) -> None:
    bench.nodes_are(1)
    driver = study.start()
    study.wait_for_packs(1, driver)
    bench.control(sleep=10.0)  # for a new node takes its time
    name = bench.add_node()
    bench.inject("node added")
    used = False
    while driver.process.poll() is None:
        if not used and name in bench.workers().values():
            used = True
            bench.control()
        time.sleep(0.1)
    assert driver.wait() == 0, driver.said
    assert used, "nothing trained on the new node"


def driver_killed(bench: Bench, study: Study, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 2)):
        driver = study.start()
        some_packs(study, driver, rng)
        driver.kill()
        bench.inject("driver killed")
    study.finish()


def tracking_down(bench: Bench, study: Study, rng: random.Random) -> None:
    driver = study.start()
    some_packs(study, driver, rng)
    with server_down(bench.server):
        bench.inject("tracking server down")
        late = rng.random() < 0.5
        if late:
            assert driver.wait() == 0, driver.said
        else:
            some_packs(study, driver, rng)
    assert driver.wait() == 0, driver.said
    study.finish()


@contextmanager
def server_down(server: MlflowServer) -> Iterator[None]:
    server.stop()
    try:
        yield
    finally:
        server.start()


def result_damaged(bench: Bench, study: Study, rng: random.Random) -> None:
    driver = study.start()
    some_packs(study, driver, rng)
    if rng.random() < 0.5:
        driver.kill()
    driver.wait()
    damaged = 0
    for pack in rng.sample(study.store.pack_ids(), min(2, len(study.store.pack_ids()))):
        path = study.storage / "trials" / f"{pack}.parquet"
        data = bytearray(path.read_bytes())
        if rng.random() < 0.5:
            del data[rng.randrange(len(data)) :]
        else:
            # Within the pages, whose bytes the checksums cover.
            data[rng.randrange(100, len(data) // 4)] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        damaged += 1
        bench.inject("results damaged")
    said = study.finish().said
    found = len(list((study.storage / "trials").glob("*.corrupt")))
    assert said.count("was damaged; moved aside") == found
    if damaged and not found:
        # A byte that no value depends on.
        study.check()


def disk_full(bench: Bench, study: Study, rng: random.Random) -> None:
    with small_disk(study.storage) as mounted:
        driver = study.start()
        some_packs(study, driver, rng)
        filler = study.storage / ".filler"
        if mounted:
            fill(filler)
        else:
            bench.control(full=True)
        bench.inject("disk full")
        code = driver.wait()
        assert code in (0, 2), driver.said
        if code:
            assert "No space left on device; what is stored is safe" in driver.said
        filler.unlink(missing_ok=True)
        bench.control()
        study.finish()
        study.check()
        shutil.copytree(study.storage, study.folder / "copy")
    shutil.rmtree(study.storage)
    (study.folder / "copy").rename(study.storage)


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A disk of 2 MB at `folder`; False where this user may not mount one."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    mounted = subprocess.run(["mount", *options], capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(file: Path) -> None:
    """Leaves no room beside `file`."""
    with file.open("wb", buffering=0) as out:
        for size in (65536, 4096, 1):
            try:
                while out.write(b"0" * size) == size:
                    pass
            except OSError:
                continue


def two_drivers(bench: Bench, study: Study, rng: random.Random) -> None:
    drivers = [study.start()]
    time.sleep(rng.uniform(0, 6))
    drivers.append(study.start())
    bench.inject("two drivers")
    codes = sorted(driver.wait() for driver in drivers)
    said = "".join(driver.said for driver in drivers)
    assert codes == [0, 2], said
    assert "is in use by process" in said
    assert set(bench.calls().values()) == {1}, "a trial was trained twice"


def spec_edited(bench: Bench, study: Study, rng: random.Random) -> None:
    driver = study.start()
    some_packs(study, driver, rng)
    driver.process.send_signal(rng.choice([2, 9, 15]))
    driver.process.wait(60)
    study.text = study.text.replace("[16, 32, 64,", "[8, 16, 64,").replace("[64, 1024]", "[256]")
    bench.inject("spec edited")
    study.finish()


def clock_changed(bench: Bench, study: Study, rng: random.Random) -> None:
    bench.control(sleep=2.0)  # still at work when the other one comes
    driver = study.start(FAKE_CLOCK=str(rng.randrange(1000)))
    bench.inject("clock changed")
    study.wait_for_packs(1, driver)
    other = study.start(FAKE_CLOCK=str(rng.randrange(1000)))
    assert other.wait() == 2, other.said
    assert driver.wait() == 0, driver.said


def out_of_memory(bench: Bench, study: Study, rng: random.Random) -> None:
    how = rng.choice(["room", "killed_above"])
    bench.control(**{how: 1})
    bench.inject("out of memory" if how == "room" else "killed for memory")
    driver = study.start()
    assert driver.wait() == 0, driver.said


def storm(bench: Bench, study: Study, rng: random.Random) -> None:
    """Several at once: nodes come and go, a worker dies, the tracking server is away, the driver is
    killed, and a file is damaged before it comes back."""
    driver = study.start()
    study.wait_for_packs(1, driver)
    with server_down(bench.server):
        bench.inject("tracking server down")
        bench.remove_node(rng.choice(bench.nodes))
        bench.inject("node removed")
        if bench.kill_a_worker(rng):
            bench.inject("worker killed")
        bench.add_node()
        bench.inject("node added")
        driver.kill()
        bench.inject("driver killed")
    pack = rng.choice(study.store.pack_ids())
    path = study.storage / "trials" / f"{pack}.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    bench.inject("results damaged")
    assert f"{pack}.parquet was damaged" in study.finish().said


FAULTS: list[Fault] = [
    worker_killed,
    node_removed,
    node_added,
    driver_killed,
    tracking_down,
    result_damaged,
    disk_full,
    two_drivers,
    spec_edited,
    clock_changed,
    out_of_memory,
    storm,
]
CASES = [(fault, seed) for seed in range(SEEDS) for fault in FAULTS] or [(storm, 0)]


@pytest.mark.parametrize(
    ("fault", "seed"), CASES, ids=[f"{fault.__name__}-{seed}" for fault, seed in CASES]
)
def test_nothing_is_lost_or_repeated(bench: Bench, fault: Fault, seed: int) -> None:
    bench.nodes_are(2)
    bench.control()
    bench.calls()
    before = bench.faults.copy()
    study = Study(bench, f"{fault.__name__}-{seed}".replace("_", "-"))
    fault(bench, study, random.Random(f"{fault.__name__} {seed}"))
    study.check()
    bench.survived += bench.faults - before


def test_the_lock_looks_at_no_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(0)
    monkeypatch.setattr(time, "time", lambda: rng.uniform(-1e12, 1e12))
    store = Store(tmp_path / "r")
    with store.lock() as lock:
        lock.check()
        with pytest.raises(StorageLockedError), store.lock():
            pass
    with store.lock():
        pass
