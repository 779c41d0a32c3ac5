"""The seeds of a study or a sweep: of its networks, and of the kernel limit on their data and more.

seeds: 8                          # 0 to 7, or a list
seeds: {network: 8, kernel: 128}  # beside every network its kernel limit, on seeds of its own

The second makes of every point a trial of infinite width for each of the kernel's seeds. Those on
the networks' own data tell what the other ones say of the networks (analysis.levels.two_levels).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from study.spec.axes import MAXIMUM_LAWS, MAXIMUM_TRIALS, Axes, Section, as_tuple
from trainers.ranges import Seed
from trainers.registry import DESCENT
from trainers.trial import TrialConfig

SHARED_LIMIT = ("width", "initialisation", "steps", "trainer")
"""Axes along which networks have the same limit."""


def _seeds(value: Any) -> Any:
    """`8` stands for the seeds 0 to 7."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise ValueError("must be a number of seeds of at least 1, or a list of seeds")
        if value > MAXIMUM_TRIALS:
            raise ValueError(f"must be at most {MAXIMUM_TRIALS:,} seeds")
        return tuple(range(value))
    return as_tuple(value)


Draws = Annotated[int, Field(ge=1, le=MAXIMUM_LAWS)]
Seeds = Annotated[tuple[Seed, ...], BeforeValidator(_seeds), Field(min_length=1)]


class SeedsSection(Section):
    """network: of every trial. kernel: of trials of infinite width, None: those that the axes ask
    for, with the networks' seeds."""

    network: Seeds
    kernel: Seeds | None = None

    @field_validator("network", "kernel")
    @classmethod
    def _once(cls, seeds: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if seeds is not None and len(set(seeds)) < len(seeds):
            raise ValueError("names a seed twice: each seed once")
        return seeds

    @field_validator("kernel")
    @classmethod
    def _more(cls, kernel: tuple[int, ...] | None, info: ValidationInfo) -> Any:
        networks = set(info.data.get("network", ()))
        if kernel is not None and networks and not networks < set(kernel):
            enough = max(networks) + 1
            raise ValueError(
                "must hold every seed of seeds.network, and more: give a number well above "
                f"{enough}, such as {8 * enough}, or remove it"
            )
        return kernel

    def trials(self, points: Sequence[TrialConfig]) -> list[TrialConfig]:
        """The trials of validated points, each once: point by point, then the limits of all."""
        limits: dict[str, TrialConfig] = {}
        if self.kernel is not None:
            for point in points:
                if point.fresh:  # no fixed rows, no limit
                    continue
                limit = _limit_of(point)
                limits.setdefault(limit.point_id, limit)
        unique: dict[str, TrialConfig] = {}
        for trial in self._seeded([*points, *limits.values()]):
            unique.setdefault(trial.trial_id, trial)
        return list(unique.values())

    def _seeded(self, points: Sequence[TrialConfig]) -> Iterator[TrialConfig]:
        for point in points:
            fields = {name: getattr(point, name) for name in TrialConfig.model_fields}
            for seed in (point.infinite and self.kernel) or self.network:
                # The point was validated; only its seed differs, and seeds were validated too.
                yield TrialConfig.model_construct(**{**fields, "seed": seed})

    def most(self, axes: Mapping[str, Sequence[Any]]) -> int:
        """Trials of a factorial over `axes`, those that are the same counted as often as named."""
        every = math.prod(map(len, axes.values())) * len(self.network)
        beside = [len(values) for axis, values in axes.items() if axis not in SHARED_LIMIT]
        return every + math.prod(beside) * len(self.kernel or ())


def _limit_of(point: TrialConfig) -> TrialConfig:
    """The trial of infinite width on a network's data: the limit of descent from 0, whatever the
    network's trainer and start."""
    return point.changed(
        width=math.inf, initialisation="symmetric", trainer=DESCENT, trainer_sha256=None
    )


def _of_networks(value: Any) -> Any:
    return value if isinstance(value, Mapping) else {"network": value}


NetworkAndKernel = Annotated[SeedsSection, BeforeValidator(_of_networks)]
"""`8`, or a list, stands for `{network: 8}`."""


class Sweep(Axes):
    """Values of some axes, on seeds of its own where it gives them: many where they are cheap.
    draws: of every law, this many draws, of its own seed and the next ones."""

    seeds: NetworkAndKernel | None = None
    draws: Draws = 1
