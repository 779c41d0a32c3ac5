"""The memory model against the measured peak of real packs, and what it must notice."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from study.planning.memory import COMPILER_BYTES, memory_of, memory_of_a_worker
from trainers.network.batches import BATCH_BYTES
from trainers.trial import Cube, TrialConfig

# Not ru_maxrss: that of a new process starts at the size of the one that forked it.
MEASURE = """
import json, sys
from pathlib import Path
import torch
from trainers import TrialConfig, train_pack

def peak():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])

trials = [TrialConfig.model_validate(t) for t in json.load(sys.stdin)]
before = peak()
train_pack(trials, "cpu", threads=1)
print(peak() - before)
"""


def trial(samples: int = 512, width: int = 512, seed: int = 0, **others: object) -> TrialConfig:
    fields = {"law": Cube(dimension=2), "step_size": 0.5, **others}
    return TrialConfig(samples=samples, width=width, seed=seed, **fields)  # type: ignore[arg-type]


FEW_POINTS = {"test_points": 128, "holdout_points": 64}
PACKS = {
    "references of many data sets": [trial(384, 64, s, steps=41) for s in range(48)],
    "a stored kernel matrix": [trial(4096, 64, steps=3, recorded=2)],
    "a batch of wide networks": [
        trial(256, 1 << 18, s, steps=2, recorded=2, kernel=False, **FEW_POINTS) for s in range(4)
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PACKS)
def test_the_model_is_near_the_measured_peak(name: str) -> None:
    model = memory_of(PACKS[name])
    # On a machine full of other work one process in ten or so peaks at up to twice what the same
    # process does otherwise: the allocator's doing, which says nothing of the model.
    measured = _peak_of(PACKS[name])
    for _ in range(2):
        if measured > 1.5 * model:
            measured = _peak_of(PACKS[name])
    assert measured / 1.5 < model < 1.5 * measured


def _peak_of(pack: list[TrialConfig]) -> int:
    described = json.dumps([t.model_dump(mode="json") for t in pack])
    command = [sys.executable, "-c", MEASURE]
    done = subprocess.run(command, input=described, stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


def test_memory_grows_with_trials_up_to_a_batch() -> None:
    few, more = ([trial(2048, 1 << 16, s) for s in range(n)] for n in (2, 4))
    assert memory_of(few) < memory_of(more) < 2 * memory_of(few)
    many = [trial(65536, 65536, s, kernel=False) for s in range(60)]
    assert memory_of(many) < 2 * BATCH_BYTES
    assert memory_of([]) == 0


def test_what_a_pack_shares_is_held_once() -> None:
    one = memory_of([trial()]) - COMPILER_BYTES
    widths = memory_of([trial(width=m) for m in (64, 512)]) - COMPILER_BYTES
    assert widths < 1.2 * one
    seeds = memory_of([trial(seed=s) for s in range(20)]) - COMPILER_BYTES
    assert seeds > one + 19 * 8 * 40 * 2048 * 2  # f^K of each


def test_a_reference_that_waits_is_counted() -> None:
    rates = (0.25, 0.5)
    waiting = memory_of([trial(seed=s, step_size=r) for s in range(16) for r in rates])
    gone = memory_of([trial(seed=s) for s in range(32)])
    assert waiting > gone + 12 * 8 * 512 * 3072


def test_without_a_compiled_path_a_worker_is_smaller() -> None:
    law = Cube(dimension=20)
    assert memory_of([trial(law=law, kernel=False)]) < memory_of([trial(law=law)])


def test_workers_share_the_machines_memory() -> None:
    one, four = (memory_of_a_worker(n, "cpu") for n in (1, 4))
    assert one == pytest.approx(4 * four, rel=0.2)
    assert four > 1e6
