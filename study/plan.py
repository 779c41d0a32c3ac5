"""Trials to packs: what one Ray Tune trial trains together, what it costs, what it holds.

Trials of equal (law, N) whose seeds differ train as one batch, and trials of one data set share
their training set and kernel reference. So a pack takes whole data sets: some seeds of one
(law, N), with every width and step size asked for on them. A data set is split only where it alone
would run longer than MAXIMUM_SECONDS or than a worker's fair share; small ones are joined.

Packs run longest first (LPT), which ends within 4/3 of the best schedule (Graham 1969); in
practice within one short pack, since there are about PACKS_PER_WORKER packs for every worker.
"""

from __future__ import annotations

import glob
import heapq
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from trainers.batches import BATCH_BYTES, bytes_of_trial
from trainers.trial import TrialConfig, content_id

PACKS_PER_WORKER = 6
MINIMUM_OPERATIONS = 1e10
"""A Tune trial costs about 50 ms of orchestration: less work than this is not worth one."""
MAXIMUM_SECONDS = 60.0
"""What an interruption may cost a worker, and how often finished results reach the disk."""
STARTUP_SECONDS = 20.0
"""Ray, torch and its compiler, once a run."""

DEFAULT_RATES = {"cpu": 3e10, "cuda": 5e12}
"""Floating-point operations a second of one CPU core, and of one GPU, until runs say better."""

KERNEL_PRODUCTS = 30
INTERPOLATION_SAMPLES = 8192
"""Largest N whose kernel matrix is stored and factored (as in trainers.reference)."""


@dataclass(frozen=True)
class Slots:
    """Where packs run: `workers` at once on `device` (cpu or cuda), each with `cpus` cores and a
    share `gpus` of a GPU."""

    workers: int
    device: str
    cpus: int = 1
    gpus: float = 0.0


def local_slots(device: str, cpus: int, gpus: float | None, workers: int | None) -> Slots:
    """What Ray will find on this machine, without starting it."""
    cards = len(glob.glob("/dev/nvidia[0-9]*")) if device != "cpu" else 0
    if device == "cuda" or cards:
        share = gpus or 1.0
        found = max(int(cards / share + 1e-9), 1)
        return Slots(min(workers or found, found), "cuda", cpus, share)
    return Slots(workers or max(1, usable_cpus() // cpus), "cpu", cpus)


@dataclass(frozen=True)
class Pack:
    """Trials that train together. cost: operations, evaluation included; memory: bytes."""

    trials: tuple[TrialConfig, ...]
    cost: float
    memory: int

    @cached_property
    def pack_id(self) -> str:
        """Content id of the set of trials."""
        return pack_id_of(trial.trial_id for trial in self.trials)

    @classmethod
    def of(cls, trials: Sequence[TrialConfig]) -> Pack:
        """The pack of these trials."""
        return cls(tuple(trials), cost_together(trials), memory_of(trials))

    def halves(self) -> list[Pack]:
        """Two packs with the trials of this one."""
        half = len(self.trials) // 2
        return [Pack.of(self.trials[:half]), Pack.of(self.trials[half:])]


@dataclass(frozen=True)
class Plan:
    """Packs, longest first, and what they come to on `workers` workers.

    rate: operations a second of one worker; rate_source says where that figure comes from.
    """

    packs: tuple[Pack, ...]
    workers: int
    rate: float
    rate_source: str

    @property
    def trials(self) -> int:
        """Number of trials."""
        return sum(len(pack.trials) for pack in self.packs)

    @property
    def operations(self) -> float:
        """Floating-point operations of the training, 4 N m (k + d) a step."""
        return math.fsum(t.training_operations for pack in self.packs for t in pack.trials)

    @property
    def cost(self) -> float:
        """Floating-point operations, evaluation included."""
        return math.fsum(pack.cost for pack in self.packs)

    @property
    def memory(self) -> int:
        """Bytes that the workers hold at once, at most."""
        return sum(heapq.nlargest(self.workers, (pack.memory for pack in self.packs)))

    @property
    def seconds(self) -> float:
        """Estimated wall-clock time."""
        if not self.packs:
            return 0.0
        return STARTUP_SECONDS + makespan([p.cost for p in self.packs], self.workers) / self.rate


def pack_id_of(trial_ids: Iterable[str]) -> str:
    """The content id of a pack holding these trials."""
    return content_id(sorted(trial_ids))


def usable_cpus() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cost_of(config: TrialConfig) -> float:
    """Floating-point operations of a trial: training, and 2 m (k + d) for every evaluated point
    at every recorded step (test and holdout points, and the training set)."""
    evaluated = config.test_points + config.holdout_points + config.samples
    per_point = 2 * config.width * (config.features + config.dimension)
    return config.training_operations + float(config.recorded * evaluated * per_point)


def kernel_cost(config: TrialConfig) -> float:
    """Operations of the kernel reference of a trial's data set: about KERNEL_PRODUCTS products with
    K, each entry evaluated anew, and up to INTERPOLATION_SAMPLES one Cholesky factor."""
    if not config.kernel:
        return 0.0
    n, entry = float(config.samples), 6.0 * config.features + 20
    evaluated = config.test_points + config.holdout_points
    factor = n**3 / 3 if n <= INTERPOLATION_SAMPLES else 0.0
    return KERNEL_PRODUCTS * n * n * entry + n * evaluated * entry + factor


def cost_together(trials: Sequence[TrialConfig]) -> float:
    """Operations of trials trained in one pack: a data set's kernel reference counts once."""
    references = {(t.law, t.diffusion, t.samples, t.seed, t.study_seed, t.bias): t for t in trials}
    return math.fsum(map(cost_of, trials)) + math.fsum(map(kernel_cost, references.values()))


def memory_of(trials: Sequence[TrialConfig]) -> int:
    """Bytes that a pack of these trials holds: its largest batch and kernel matrix, data sets and
    evaluation sets."""
    each = [bytes_of_trial(trial, trial.samples, trial.width) for trial in trials]
    batch = min(sum(each), max(BATCH_BYTES, *each))
    evaluation = max(
        (t.test_points + t.holdout_points) * (t.features + 4 * t.dimension) for t in trials
    )
    data = {(t.law, t.samples, t.seed): t.samples * (t.features + t.dimension) for t in trials}
    stored = [t.samples for t in trials if t.kernel and t.samples <= INTERPOLATION_SAMPLES]
    kernel = 2 * max(stored, default=0) ** 2  # K and its factor
    return batch + 8 * (evaluation + sum(data.values()) + kernel)


def choose_rate(finished: Sequence[TrialConfig], seconds: float, slots: Slots) -> tuple[float, str]:
    """Operations a second of one worker, and where the figure comes from.

    seconds: worker time that the finished trials took together, on the device of `slots`.
    """
    if seconds >= 1:
        return cost_together(finished) / seconds, f"measured on {len(finished)} finished trials"
    share = slots.gpus if slots.device == "cuda" else slots.cpus
    return DEFAULT_RATES[slots.device] * share, "recorded default"


def make_plan(
    trials: Sequence[TrialConfig],
    workers: int,
    rate: float,
    rate_source: str,
    memory_per_pack: float = math.inf,
) -> Plan:
    """Packs for `workers` workers of `rate` operations a second each.

    memory_per_pack: bytes that a pack may hold; a single trial may hold more. Deterministic.
    """
    costs = {id(trial): cost_of(trial) for trial in trials}
    total = math.fsum(costs.values())
    longest = MAXIMUM_SECONDS * rate
    target = min(max(total / (workers * PACKS_PER_WORKER), MINIMUM_OPERATIONS), longest)
    largest = min(longest, max(total / workers, MINIMUM_OPERATIONS))
    families = _families(trials)
    while True:
        groups = _grouped(families, costs, target, largest)
        if len(groups) >= min(workers, len(trials)) or target <= MINIMUM_OPERATIONS:
            break
        target = largest = max(target / 2, MINIMUM_OPERATIONS)
    packs = [Pack.of(part) for group in groups for part in _within_memory(group, memory_per_pack)]
    packs.sort(key=lambda pack: (-pack.cost, pack.pack_id))
    return Plan(tuple(packs), workers, rate, rate_source)


def makespan(costs: Sequence[float], workers: int) -> float:
    """When the last of `workers` workers ends, jobs taken in the order given."""
    loads = [0.0] * max(1, workers)
    for cost in costs:
        heapq.heappush(loads, heapq.heappop(loads) + cost)
    return max(loads)


_DataSets = dict[int, list[TrialConfig]]


def _families(trials: Sequence[TrialConfig]) -> list[_DataSets]:
    """The trials of every (law, diffusion, N, study seed), by seed: one entry a data set."""
    families: dict[object, _DataSets] = {}
    for trial in trials:
        key = (trial.law, trial.diffusion, trial.samples, trial.study_seed)
        families.setdefault(key, {}).setdefault(trial.seed, []).append(trial)
    return list(families.values())


def _grouped(
    families: Sequence[_DataSets], costs: dict[int, float], target: float, largest: float
) -> list[list[TrialConfig]]:
    """Groups of about `target` operations: whole data sets, unless one exceeds `largest`."""
    groups: list[tuple[float, list[TrialConfig]]] = []
    for family in families:
        parts: list[tuple[float, list[TrialConfig]]] = []
        for data_set in family.values():
            weighed = [(costs[id(trial)], [trial]) for trial in data_set]
            cost = math.fsum(c for c, _ in weighed) + kernel_cost(data_set[0])
            if cost > largest:
                groups += _bins(weighed, math.ceil(cost / largest))
            else:
                parts.append((cost, data_set))
        if parts:
            groups += _within(parts, target)
    return _joined(groups, target)


def _within(
    parts: Sequence[tuple[float, list[TrialConfig]]], target: float
) -> list[tuple[float, list[TrialConfig]]]:
    """`parts` in the fewest groups of nearly equal cost that do not exceed `target`, or the
    largest part."""
    limit = max(target, *(cost for cost, _ in parts))
    count = math.ceil(math.fsum(cost for cost, _ in parts) / limit)
    while True:
        groups = _bins(parts, count)
        if max(cost for cost, _ in groups) <= limit:
            return groups
        count += 1


def _bins(
    parts: Sequence[tuple[float, list[TrialConfig]]], count: int
) -> list[tuple[float, list[TrialConfig]]]:
    """`parts` dealt to at most `count` groups of nearly equal cost, longest first."""
    count = min(count, len(parts))
    groups: list[list[TrialConfig]] = [[] for _ in range(count)]
    loads = [(0.0, index) for index in range(count)]
    for cost, members in sorted(parts, key=lambda part: -part[0]):
        load, index = heapq.heappop(loads)
        groups[index] += members
        heapq.heappush(loads, (load + cost, index))
    return [(load, groups[index]) for load, index in sorted(loads, key=lambda item: item[1])]


def _joined(
    groups: Sequence[tuple[float, list[TrialConfig]]], target: float
) -> list[list[TrialConfig]]:
    """Small groups joined, in order of cost, while they stay within `target`."""
    joined: list[list[TrialConfig]] = []
    load = math.inf
    for cost, members in sorted(groups, key=lambda group: -group[0]):
        if load + cost <= target:
            joined[-1] = joined[-1] + members
            load += cost
        else:
            joined.append(members)
            load = cost
    return joined


def _within_memory(group: list[TrialConfig], limit: float) -> list[list[TrialConfig]]:
    if len(group) == 1 or memory_of(group) <= limit:
        return [group]
    half = len(group) // 2
    return _within_memory(group[:half], limit) + _within_memory(group[half:], limit)
