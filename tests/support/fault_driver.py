"""`fault_driver.py SPEC STORAGE TRACKING_URI ADDRESS`: a driver for `test_faults`, with the fake
trainer and without the report, which takes longer than all the rest. FAKE_CLOCK, a seed: once it is
connected (Ray itself measures its patience by the clock), its clock jumps by up to a day, forward
and back, at every look."""

from __future__ import annotations

import os
import random
import sys
import time

import fake_trainer
from rich.console import Console

import analysis.report.page
from study import StudySpec, run
from study.running import cluster
from study.storage.lock import StorageLockedError
from study.storage.store import StoreError


def jumping(seed: int) -> None:
    """Makes `time.time` wrong for this process from when it is connected to Ray."""
    rng, clock, connect = random.Random(seed), time.time, cluster._connect

    def connected(address: str) -> None:
        connect(address)
        time.time = lambda: clock() + rng.uniform(-86400, 86400)

    cluster._connect = connected


if __name__ == "__main__":
    if "FAKE_CLOCK" in os.environ:
        jumping(int(os.environ["FAKE_CLOCK"]))
    analysis.report.page.write_report = lambda *_arguments, **_options: None  # type: ignore[assignment]
    spec_file, storage, tracking_uri, address = sys.argv[1:]
    try:
        result = run(
            StudySpec.load(spec_file),
            storage,
            tracking_uri,
            address=address,
            trainer=fake_trainer.train,
            console=Console(width=120),
        )
    except (StoreError, StorageLockedError) as error:
        print(error)
        sys.exit(2)
    sys.exit(result.exit_code)
