"""Packs for cards that are described here, not at hand: an H100 and an H200."""

import glob
import subprocess
from typing import Any

import pytest

from study.planning.cards import MOST_PACKS_A_CARD, share_of_a_card
from study.planning.cost import DEFAULT_SPEEDS
from study.planning.memory import SHARE_OF_FREE_MEMORY, memory_of, memory_of_a_worker
from study.planning.plan import MAXIMUM_SECONDS, local_slots, make_plan, slots_of
from study.spec.axes import Resources
from trainers.network.batches import batches
from trainers.trial import Cube, TrialConfig

CARDS = {"H100": 81_559, "H200": 143_771}
"""MiB of memory, as nvidia-smi tells them."""

SPEEDS = DEFAULT_SPEEDS["cuda"]


def trials(count: int, **fields: Any) -> list[TrialConfig]:
    common = {"samples": 128, "width": 256, "step_size": 1.0, "steps": 1000, "kernel": False}
    return [
        TrialConfig(law=Cube(dimension=2), **{**common, **fields, "seed": seed})
        for seed in range(count)
    ]


@pytest.fixture(params=CARDS)
def card(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """A machine with two of these cards; the bytes of one."""
    mib = CARDS[request.param]

    def nvidia_smi(command: list[str], **options: Any) -> Any:
        assert command[0] == "nvidia-smi"
        return subprocess.CompletedProcess(command, 0, f"{mib}\n{mib}\n", "")

    monkeypatch.setattr(subprocess, "run", nvidia_smi)
    monkeypatch.setattr(glob, "glob", lambda pattern: ["/dev/nvidia0", "/dev/nvidia1"])
    return mib * 2.0**20


@pytest.mark.slow
def test_small_trials_share_a_card_in_packs_of_hundreds(card: float) -> None:
    asked = trials(4096)
    share = share_of_a_card(asked)
    assert share == 1 / MOST_PACKS_A_CARD
    slots = local_slots("auto", 1, None, None, lambda: share)
    assert (slots.device, slots.workers, slots.gpus) == ("cuda", 2 * MOST_PACKS_A_CARD, share)
    assert slots.memory == pytest.approx(card * share * SHARE_OF_FREE_MEMORY)
    packs = make_plan(asked, slots, SPEEDS).packs
    assert sum(len(pack.trials) for pack in packs) == 4096
    assert min(len(pack.trials) for pack in packs) >= 200
    assert max(pack.memory for pack in packs) <= slots.memory
    # A batch, which is what runs at once, holds hundreds of trials too.
    assert min(len(batch) for pack in packs for batch in batches(pack.trials)) >= 100


def test_large_trials_have_a_card_for_themselves(card: float) -> None:
    asked = trials(32, samples=16_384, width=16_384)
    assert share_of_a_card(asked) == 1.0
    slots = local_slots("cuda", 1, None, None, lambda: share_of_a_card(asked))
    assert (slots.workers, slots.gpus) == (2, 1.0)
    packs = make_plan(asked, slots, SPEEDS).packs
    assert all(p.memory <= slots.memory for p in packs)
    assert all(p.cost <= MAXIMUM_SECONDS or len(p.trials) == 1 for p in packs)


def test_a_share_of_a_card_holds_the_largest_trial(card: float) -> None:
    """Small trials that would share a card, and one that wants nearly half of an H200."""
    wide = trials(1, samples=16, width=600_000_000, steps=1)
    need = memory_of(wide)
    assert card * SHARE_OF_FREE_MEMORY / 4 < need
    assert share_of_a_card(trials(2048)) == 0.25
    share = share_of_a_card([*trials(2048), *wide])
    assert need <= share * card * SHARE_OF_FREE_MEMORY
    assert share == (0.5 if card > 1e11 else 1.0)
    assert share_of_a_card(trials(64), card=memory_of(trials(1)) * 2.6) == 0.5


def test_what_the_study_says_goes_before(card: float) -> None:
    nodes = [{"CPU": 16.0, "GPU": 2.0}]

    def never() -> float:
        raise AssertionError("the study says it")

    said = slots_of(nodes, "auto", Resources(gpus_per_pack=0.5), False, never)
    assert (said.workers, said.gpus, said.device) == (4, 0.5, "cuda")
    left = slots_of(nodes, "auto", Resources(), False, lambda: 0.25)
    assert (left.workers, left.gpus) == (8, 0.25)
    assert left.memory == memory_of_a_worker(8, "cuda", 0.25)
    assert slots_of([{"CPU": 2.0}], "auto", Resources(), False, never).gpus == 0.0
    assert share_of_a_card([]) == 1.0
