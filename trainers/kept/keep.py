"""Which networks of a study are kept or sampled, and when (the spec's `keep` and `quality`).

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

SUFFIX = ".safetensors"
"""Of the name of a network's file."""

HEADER_BYTES = 2048
"""Of a file of a network, besides its numbers: names, and the trial's configuration."""


Sampler = Literal["euler_maruyama", "exponential", "heun", "flow"]
Grid = Literal["log", "uniform"]
Start = Literal["exact", "normal"]

NOISY: tuple[Sampler, ...] = ("euler_maruyama", "exponential")
"""Samplers of the reverse process; the others follow the probability flow, and draw no noise."""

SAMPLE_STEPS = 200
"""Of a sampler: with the true score samples of every law at d <= 8 then pass for draws."""

SAMPLE_POINTS = 1024

SAMPLES_VERSION = 2
"""Of the numbers of samples: raise it when a change alters them, which no trial's id says."""

UNREPEATED = ("cube", "gaussian", "gaussian_mixture", "scale_mixture")
"""Kinds of laws whose numbers are those of version 1 still: in every dimension no two clean points
are the same."""


def _rules(steps: Sequence[KeptStep]) -> tuple[str, ...]:
    names: list[str] = []
    for step in steps:
        names += {"best": ("oracle",), "last": ("last",), "stops": STOPS}[step]
    return tuple(names)


PREDICTS = "predicts"
"""A served network's parameter: what it predicts, f, score, eps or v."""


def served_inputs(dimension: int) -> list[str]:
    """The columns that a served network asks for: x1 ... xd, and t."""
    return [*(f"x{i + 1}" for i in range(dimension)), "t"]


def served_outputs(dimension: int) -> list[str]:
    """The columns that it gives."""
    return [f"y{i + 1}" for i in range(dimension)]


@dataclass(frozen=True)
class Sampling:
    """How networks are sampled: at which steps, of which seeds, `points` of each network, by which
    sampler (`trainers.sampling.samplers`), and from what at T: exact draws of X_T, or N(0, I)."""

    steps: tuple[KeptStep, ...]
    seeds: frozenset[int]
    points: int = SAMPLE_POINTS
    sampler: Sampler = "exponential"
    grid_steps: int = SAMPLE_STEPS
    grid: Grid = "log"
    start: Start = "exact"

    def wants(self, config: TrialConfig) -> bool:
        """Whether networks of this trial are sampled: at infinite width there is none."""
        return not config.infinite and config.seed in self.seeds

    @property
    def rules(self) -> tuple[str, ...]:
        """The steps as stopping rules, and `last`."""
        return _rules(self.steps)

    @property
    def text(self) -> str:
        """All of it but the seeds on one line: the column `sampled`."""
        how = f"{self.sampler} in {self.grid_steps} steps ({self.grid})"
        if self.sampler == "flow":
            how = self.sampler
        at = " ".join(self.steps)
        return f"{at}: {self.points} points by {how} from {self.start}"

    def text_of(self, law: str) -> str:
        """`text` for trials of a law of this kind, with the version of its samples' numbers where
        those changed: what was sampled before then is sampled again."""
        return self.text if law in UNREPEATED else f"{self.text}, numbers {SAMPLES_VERSION}"

    def operations(self, config: TrialConfig) -> float:
        """Floating-point operations of sampling one network: a third of training steps on as many
        rows, whose backward pass it does without; an estimate where the grid is adaptive."""
        calls = self.grid_steps * (2 if self.sampler == "heun" else 1)
        facts = facts_of(config.trainer)
        if facts.paper_network:
            size = 2 * int(config.width) * (config.features + config.dimension)
        else:
            size = 2 * config.parameters
        return float(calls * self.points * size)


def noisy(text: str) -> bool:
    """Whether samples that were made as a `Sampling.text` says are of the reverse process, by a
    sampler that draws noise."""
    return any(f"by {sampler} " in text for sampler in NOISY)


def at_best(text: str) -> bool:
    """Whether a `Sampling.text` asks for samples at the best step."""
    return "best" in text.partition(":")[0].split()


@dataclass(frozen=True)
class Keep:
    """steps: what is kept. seeds: the trials of which it is kept. sampling: what is sampled, None
    for nothing."""

    steps: tuple[KeptStep, ...]
    seeds: frozenset[int]
    sampling: Sampling | None = None

    def wants(self, config: TrialConfig) -> bool:
        """Whether networks of this trial are kept: at infinite width there is none."""
        return not config.infinite and config.seed in self.seeds

    def samples(self, config: TrialConfig) -> bool:
        """Whether networks of this trial are sampled."""
        return self.sampling is not None and self.sampling.wants(config)

    @property
    def rules(self) -> tuple[str, ...]:
        """The steps as stopping rules, and `last`."""
        return _rules(self.steps)

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
    trajectory, or its beginning: a rule's answer there is where it stops so far. Where no score
    error is known, the best step is that of the least held-out loss."""
    found: dict[str, int] = {}
    for rule in rules:
        if rule == "last":
            loss = recorded.train_loss
            finite = np.flatnonzero(np.isfinite(loss)) if loss is not None else np.array([])
            index = int(finite[-1]) if len(finite) else None
        else:
            errors = recorded.score_error
            blind = rule == "oracle" and (errors is None or not np.isfinite(errors).any())
            index = stop("holdout" if blind else rule, recorded).index
        if index is not None:
            found[rule] = index
    return found
