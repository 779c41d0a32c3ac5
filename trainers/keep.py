"""Which networks of a study are kept, and at which steps (the spec's `keep`).

`best` is the oracle's step, `last` the last recorded one at which the network was finite, `stops`
the steps of the stopping rules that one trajectory answers alone: all of RULES but `oracle`, which
is `best`, and `a_priori`, whose constant comes from other trials. A rule that never fires keeps
nothing. numpy only: the driver plans with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trainers.registry import facts_of
from trainers.stopping import RULES, Recorded, stop
from trainers.trial import TrialConfig

KeptStep = Literal["best", "last", "stops"]

STOPS = tuple(rule for rule in RULES if rule not in ("oracle", "a_priori"))
"""The rules that `stops` stands for."""

HEADER_BYTES = 2048
"""Of a file of a network, besides its numbers: names, and the trial's configuration."""


@dataclass(frozen=True)
class Keep:
    """steps: what is kept. seeds: the trials of which it is kept."""

    steps: tuple[KeptStep, ...]
    seeds: frozenset[int]

    def wants(self, config: TrialConfig) -> bool:
        """Whether networks of this trial are kept: at infinite width there is none."""
        return not config.infinite and config.seed in self.seeds

    @property
    def rules(self) -> tuple[str, ...]:
        """The steps as stopping rules, and `last`."""
        names: list[str] = []
        for step in self.steps:
            names += {"best": ("oracle",), "last": ("last",), "stops": STOPS}[step]
        return tuple(names)

    def bytes_of(self, config: TrialConfig) -> int:
        """Bytes that files of the trial's networks take at most; 0 where none is kept."""
        return len(self.rules) * network_bytes(config) if self.wants(config) else 0


def network_bytes(config: TrialConfig) -> int:
    """Bytes of one network's file, about: its weights, and the signs of the paper's network, which
    are a byte each."""
    each = 4 if config.precision == "float32" else 8
    facts = facts_of(config.trainer)
    signs = int(config.width) * config.dimension if facts.paper_network else 0
    return config.parameters * each + signs + HEADER_BYTES


def kept_indices(rules: Sequence[str], recorded: Recorded) -> dict[str, int]:
    """Rule -> the index of the recorded step that it names, of those that name one. recorded: the
    trajectory, or its beginning: a rule's answer there is where it stops so far."""
    found: dict[str, int] = {}
    for rule in rules:
        if rule == "last":
            loss = recorded.train_loss
            finite = np.flatnonzero(np.isfinite(loss)) if loss is not None else np.array([])
            index = int(finite[-1]) if len(finite) else None
        else:
            index = stop(rule, recorded).index
        if index is not None:
            found[rule] = index
    return found
