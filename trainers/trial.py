"""A trial: its configuration, its content id, and its trajectory.

A **trial** is one network (law, d, N, m, eta, initialisation, seed) trained to the last step.
Symbols, as everywhere in the project:

| symbol | name here        | meaning                                   | unit          |
|--------|------------------|-------------------------------------------|---------------|
| d      | law.dimension    | dimension of X_0                          | 1             |
| N      | samples          | clean training points X_0                 | 1             |
| M      | copies           | noisy copies (t, X_t) of each, or fresh   | 1             |
| m      | width            | hidden neurons; inf: the kernel limit     | 1             |
| eta    | step_size        | step size of L(W) with its 1/N            | 1             |
| tau    | step             | gradient steps taken                      | steps         |
| eta*tau| effective_time   | what the kernel limit depends on          | 1             |

No torch: this module is imported by the driver and by the analysis, neither of which loads it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainers.columns import TIME_BINS
from trainers.laws import Law as Law
from trainers.laws.kinds.atoms import Atoms as Atoms
from trainers.laws.kinds.cube import Cube as Cube
from trainers.laws.kinds.gaussian_mixture import GaussianMixture as GaussianMixture
from trainers.laws.kinds.sphere import Sphere as Sphere
from trainers.laws.subspace import Subspace as Subspace
from trainers.own_files import OWN
from trainers.ranges import (
    MAXIMUM_STEPS,
    Copies,
    HoldoutPoints,
    Norm,
    Recorded,
    Scale,
    Seed,
    Size,
    Steps,
    StepSize,
    TestPoints,
    Time,
    TimeLaw,
    Weight,
    Width,
)
from trainers.registry import DESCENT, KERNEL_LIMIT, TRAINERS, facts_of

Item = TypeVar("Item")

NUMERICS_VERSION = 2
"""Part of every content id. Raise it when a change alters the numbers a configuration gives."""


def grouped(items: Iterable[Item], key: Callable[[Item], object]) -> list[list[Item]]:
    """`items` by `key`, in the order in which keys appear."""
    found: dict[object, list[Item]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return list(found.values())


def content_id(value: Any) -> str:
    """First 16 hexadecimal digits of the SHA-256 of `value` as canonical JSON.

    `value` must be JSON data (dict, list, str, int, finite float, bool, None); raises
    ValueError for NaN and infinities.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


# --- forward process (docs/theory.md, section 1) ------------------------------------------------


class Diffusion(_Frozen):
    """dX = -1/2 g(t) X dt + sqrt(g(t)) dB on times t ~ U[t_min, t_max] (T_0 and T).

    `constant`: g(t) = g_min. `linear`: g rises linearly from g_min at t = 0 to g_max at t_max.
    """

    t_min: Time = 0.05
    t_max: Time = 1.0
    schedule: Literal["constant", "linear"] = "constant"
    g_min: Scale = 1.0
    g_max: Scale | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Diffusion:
        if self.t_min >= self.t_max:
            raise ValueError(
                f"diffusion.t_min = {self.t_min:g} must be below diffusion.t_max = {self.t_max:g}"
            )
        if self.schedule == "linear" and self.g_max is None:
            raise ValueError("diffusion.schedule: linear needs diffusion.g_max")
        if self.schedule == "constant" and self.g_max is not None:
            raise ValueError(
                "diffusion.g_max is used by schedule: linear only; remove it, or set the schedule"
            )
        return self

    @property
    def g_last(self) -> float:
        """g at T."""
        return self.g_min if self.g_max is None else self.g_max


def time_bin_edges(diffusion: Diffusion) -> list[float]:
    """The TIME_BINS + 1 log-spaced edges, from t_min to t_max, of the bins of t."""
    a, b = math.log(diffusion.t_min), math.log(diffusion.t_max)
    inner = [math.exp(a + (b - a) * i / TIME_BINS) for i in range(1, TIME_BINS)]
    return [diffusion.t_min, *inner, diffusion.t_max]


# --- the trial ----------------------------------------------------------------------------------

LIMIT_TIME = 1e4
"""Effective time at which trials of infinite width end, or N M where that is more: best times grow
more slowly than N (docs/theory.md, section 7)."""

MEMORIZING = 2
"""Trials with copies go so many times as far: with them, memorization times are asked for."""

UNSAID: dict[str, str | int] = {
    "trainer": DESCENT,
    "copies": 1,
    "time_law": "uniform",
    "weight": "x0",
}
"""Fields and the values that content ids leave unsaid: results are older than the choice."""


class TrialConfig(_Frozen):
    """Everything that decides a trial's numbers, and nothing else.

    copies, time_law and weight say which rows and which loss the network is trained with
    (docs/theory.md, section 12); errors are measured under one law of t whatever they are.
    width = inf is the kernel limit of full-batch descent from 0: no network, all in float64, as far
    in effective time as `limit_time`. So `steps`, `precision`, `kernel` and `trainer` are not the
    caller's: whatever was given, they are what they must be; steps follow from eta and N, and of
    the norms the largest is kept.
    """

    law: Law
    diffusion: Diffusion = Diffusion()
    samples: Size
    width: Width
    step_size: StepSize
    steps: Steps = 1000
    initialisation: Literal["symmetric", "plain"] = "symmetric"
    bias: bool = True
    seed: Seed = 0
    study_seed: Seed = 0
    test_points: TestPoints = 2048
    holdout_points: HoldoutPoints = 1024
    recorded: Recorded = 40
    precision: Literal["float32", "float64"] = "float32"
    kernel: bool = True
    norms: tuple[Norm, ...] = ()
    copies: Copies = 1
    time_law: TimeLaw = "uniform"
    weight: Weight = "x0"
    trainer: str = DESCENT
    trainer_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _consistent(self) -> TrialConfig:
        if list(self.norms) != sorted(set(self.norms)):
            raise ValueError("decomposition.norms must rise, each value once")
        most = self.law.most_samples
        if most is not None and self.samples > most:
            raise ValueError(
                f"samples = {self.samples}, but {self.law.label} has {most} rows to train on: use "
                "at most as many"
            )
        if not self.law.known and (self.norms or self.infinite):
            key = "decomposition.norms" if self.norms else "width = inf"
            raise ValueError(
                f"{key} is measured against f*, and of law.kind: {self.law.kind} that is not "
                "known: remove it"
            )
        if self.infinite:
            # Frozen for all others; pydantic keeps this very instance.
            self.__dict__.update(self._of_the_limit())
            return self
        if self.initialisation == "symmetric" and self.width % 2:
            raise ValueError(
                f"width = {self.width} is odd, and initialisation: symmetric pairs the neurons: "
                "use an even width, or initialisation: plain"
            )
        if self.norms and not self.kernel:
            raise ValueError("decomposition.norms needs kernel: true")
        if self.trainer not in TRAINERS and not OWN.match(self.trainer):
            raise ValueError(
                f"trainer = {self.trainer!r} is unknown: use one of {', '.join(TRAINERS)}, or your "
                "own as module:Class"
            )
        if (self.trainer in TRAINERS) != (self.trainer_sha256 is None):
            raise ValueError(
                f"trainer = {self.trainer!r}: a trainer of your own is known by the SHA-256 of its "
                "file, and only those have one; load the spec, or use custom.trainer_fields"
            )
        return self

    def _of_the_limit(self) -> dict[str, Any]:
        """The fields that width = inf decides. Raises ValueError for those that it contradicts."""
        if self.initialisation != "symmetric":
            raise ValueError(
                f"width = inf starts at 0, and initialisation: {self.initialisation} does not: use "
                "initialisation: symmetric, or leave inf out of width"
            )
        if self.trainer not in (DESCENT, KERNEL_LIMIT) or self.trainer_sha256 is not None:
            raise ValueError(
                f"width = inf is the limit of full-batch descent, not of trainer: {self.trainer}: "
                f"use trainer: {DESCENT}, or leave inf out of width"
            )
        if self.fresh:
            raise ValueError(
                "width = inf is descent on a fixed training set, and copies: fresh has none: give "
                "copies a number, or leave inf out of width"
            )
        steps = self.limit_time / self.step_size
        return {
            "width": math.inf,
            "steps": int(min(max(math.floor(steps), 1), MAXIMUM_STEPS)),
            "precision": "float64",
            "kernel": True,
            "trainer": KERNEL_LIMIT,
            "norms": self.norms[-1:],  # the terms are those at the largest R_H
        }

    @property
    def infinite(self) -> bool:
        """Whether there is no network: width = inf."""
        return math.isinf(self.width)

    @property
    def limit_time(self) -> float:
        """The effective time at which a trial of infinite width ends."""
        return max(LIMIT_TIME, self.rows) * (1 if self.copies == 1 else MEMORIZING)

    @property
    def fresh(self) -> bool:
        """Whether every step has new times and noise."""
        return isinstance(self.copies, str)

    @property
    def rows(self) -> int:
        """Rows (t, X_0, X_t) of a step: N M, or N where they are fresh."""
        return self.samples * (1 if self.fresh else int(self.copies))

    @property
    def kernel_reference(self) -> bool:
        """Whether the columns of kernel descent are measured beside a network: where they are asked
        for, and the rows stay the same. Its trainer has a say too."""
        return self.kernel and not self.infinite and not self.fresh

    @property
    def gap_points(self) -> int:
        """Points at which the generalization gap is measured beside the held-out ones: fresh copies
        of training points, where there are copies at all."""
        return self.holdout_points if self.copies != 1 else 0

    @property
    def evaluated_points(self) -> int:
        """Points at which the network is evaluated at every recorded step."""
        return self.test_points + self.holdout_points + self.gap_points

    @property
    def data_key(self) -> tuple[object, ...]:
        """What trials on one training set have in common; see `data_id`."""
        noise = (self.copies, self.time_law, self.weight)
        return (self.law, self.diffusion, self.samples, *noise, self.seed, self.study_seed)

    def changed(self, **fields: Any) -> TrialConfig:
        """The same trial with other values of `fields`, validated. (`model_copy` would do neither
        that, nor forget the ids.)"""
        return TrialConfig.model_validate({**self.model_dump(), **fields})

    @property
    def dimension(self) -> int:
        """d, the dimension of X_0."""
        return self.law.dimension

    @property
    def features(self) -> int:
        """k, the number of input features: d + 2, or d + 1 without bias."""
        return self.law.dimension + (2 if self.bias else 1)

    @property
    def trainer_label(self) -> str:
        """The trainer's name; of one of your own with the first digits of its file's hash."""
        return self.trainer + (f"@{self.trainer_sha256[:8]}" if self.trainer_sha256 else "")

    @property
    def parameters(self) -> int:
        """Number of trained parameters: m k of the paper's network, others of the MLP's layers."""
        return facts_of(self.trainer).parameters(self)

    @property
    def step_operations(self) -> float:
        """Floating-point operations of one step (see `trainers.registry`)."""
        return float(facts_of(self.trainer).operations(self))

    @property
    def training_operations(self) -> float:
        """Floating-point operations of training to the last step."""
        return float(facts_of(self.trainer).operations(self) * self.steps)

    def identity(self) -> dict[str, Any]:
        """The JSON data that the content id hashes."""
        full = self.model_dump(mode="json")
        if self.infinite:
            del full["steps"]  # they follow from the others
            if self.copies != 1:
                full["horizon"] = MEMORIZING
        for name, unsaid in UNSAID.items():
            if full[name] == unsaid:
                del full[name]
        if self.trainer_sha256 is None:
            del full["trainer_sha256"]
        return {**full, "law": self.law.identity(), "numerics": NUMERICS_VERSION}

    @cached_property
    def trial_id(self) -> str:
        """Content id: the same numbers, the same id, whatever study or sweep asks for them."""
        return content_id(self.identity())

    def earlier_ids(self) -> list[str]:
        """The content ids that earlier numerics gave the trial, the latest first: where results of
        theirs are found, not for training."""
        earlier = range(NUMERICS_VERSION - 1, 0, -1)
        return [content_id({**self.identity(), "numerics": version}) for version in earlier]

    @cached_property
    def point_id(self) -> str:
        """Content id of the trial without its seed."""
        return content_id({k: v for k, v in self.identity().items() if k != "seed"})

    @cached_property
    def law_id(self) -> str:
        """Content id of the law, its dimension included."""
        return content_id(self.law.identity())

    @cached_property
    def data_id(self) -> str:
        """Content id of the training set: shared by trials that differ in m, eta and network."""
        drawn = ("law", "diffusion", "samples", "seed", "study_seed", "numerics")
        keys = {*drawn, "copies", "time_law", "weight"}
        return content_id({k: v for k, v in self.identity().items() if k in keys})


def recorded_steps(steps: int, count: int) -> list[int]:
    """`count` steps from 0 to `steps`, log-spaced, both ends included (fewer if steps < count)."""
    if steps < count:
        return list(range(steps + 1))
    if count == 2:
        return [0, steps]
    size = count - 1
    while True:
        grid = {0, steps} | {round(steps ** (i / (size - 1))) for i in range(size)}
        if len(grid) >= count:
            return sorted(grid)
        size += 1


# --- the trajectory -----------------------------------------------------------------------------


class TrialStatus(StrEnum):
    """`diverged` is a result (eta was too large); `pruned` was stopped before its last step by a
    search, which chose by the results: it enters no rate; `failed` is an error with a message."""

    COMPLETED = "completed"
    DIVERGED = "diverged"
    PRUNED = "pruned"
    FAILED = "failed"


@dataclass(frozen=True)
class Trajectory:
    """A trial's results: `values` holds the TRIAL_COLUMNS, `series` the STEP_COLUMNS, one list
    as long as `steps` each, and `texts` those of them that are text. None means not asked for, or
    not defined there. networks: files of networks that are kept, by name (trainers.kept)."""

    config: TrialConfig
    steps: list[int]
    status: TrialStatus = TrialStatus.COMPLETED
    message: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    series: dict[str, list[float | None]] = field(default_factory=dict)
    texts: dict[str, list[str | None]] = field(default_factory=dict)
    networks: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns: dict[str, list[Any]] = {**self.series, **self.texts}
        for name, column in columns.items():
            if len(column) != len(self.steps):
                raise ValueError(f"{name}: {len(column)} values for {len(self.steps)} steps")


def failed(config: TrialConfig, message: str) -> Trajectory:
    """The trajectory of a trial that gave no numbers: one row, at step 0, with its message."""
    return Trajectory(config, [0], TrialStatus.FAILED, message)
