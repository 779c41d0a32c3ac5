"""How many packs share a GPU, where the study does not say.

A pack keeps a card busy with its arithmetic; meanwhile other packs of the card wait. While a pack
draws its data, launches steps that are too small to fill the card or writes its rows, the card is
free for them. So a card takes as many packs as keep it busy, each with as much memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from study.planning.cost import DEFAULT_SPEEDS, Speeds, seconds_of
from study.planning.memory import SHARE_OF_FREE_MEMORY, memory_of, memory_of_a_worker
from trainers.trial import TrialConfig

MOST_PACKS_A_CARD = 4
"""Each is a process with a context of its own, some hundred MiB of the card, and cores to feed it.
"""


def share_of_a_card(
    trials: Iterable[TrialConfig],
    card: float | None = None,
    speeds: Speeds = DEFAULT_SPEEDS["cuda"],
) -> float:
    """The share of a GPU of each pack: 1, 1/2, 1/3 or 1/4.

    trials: those of the study; none for a share of 1. card: bytes of its memory, by default
    those of the smallest card here: the largest trial must fit into its share.
    """
    asked = list(trials)
    if not asked:
        return 1.0
    busy = math.fsum(_arithmetic_seconds(trial, speeds) for trial in asked)
    packs = int(seconds_of(asked, speeds) / max(busy, 1e-9))
    largest = max(map(memory_of, ([trial] for trial in _by_size(asked))))
    usable = memory_of_a_worker(1, "cuda") if card is None else card * SHARE_OF_FREE_MEMORY
    packs = int(min(packs, usable / largest, MOST_PACKS_A_CARD))
    return 1 / max(packs, 1)


def _arithmetic_seconds(trial: TrialConfig, speeds: Speeds) -> float:
    rate = speeds.fused / (2 if trial.precision == "float64" else 1)
    return trial.training_operations / rate


def _by_size(trials: list[TrialConfig]) -> Iterable[TrialConfig]:
    """One trial of each size."""
    return {(t.rows, t.width, t.dimension, t.recorded): t for t in trials}.values()
