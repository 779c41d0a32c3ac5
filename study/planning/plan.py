"""Trials to packs: what one Ray Tune trial trains together, in which order, and how long it takes.

Trials of equal (law, N, m) whose seeds differ train as one batch, which costs less than the sum of
its trials; trials of one data set (law, N, seed) share their kernel reference. So a pack takes
trials of one (law, N): all seeds of some widths, or all widths of some seeds, whichever the cost
model finds cheaper. Small packs are joined. None runs longer than MAXIMUM_SECONDS or than a
worker's fair share, unless it is a single trial.

Packs run longest first (LPT), which ends within 4/3 of the best schedule (Graham 1969); in
practice within one short pack, since there are about PACKS_PER_WORKER packs for every worker.
"""

from __future__ import annotations

import glob
import heapq
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from study.planning.cost import Speeds, seconds_of
from study.planning.memory import memory_of, memory_of_a_worker
from study.spec.axes import Resources
from study.spec.messages import SpecError
from trainers.kept.keep import Keep
from trainers.trial import TrialConfig, content_id, grouped

PACKS_PER_WORKER = 6
MINIMUM_SECONDS = 4.0
"""Packs are joined up to this length: the first batch of a size, and Ray, cost tenths of it."""
SMALLEST_SECONDS = 2.0
"""Work that would not give every worker this much is not spread over all of them."""
WASTE = 0.2
"""How much dearer the trials of one (law, N) may get by being spread over packs."""
MAXIMUM_SECONDS = 60.0
"""What an interruption may cost a worker, and how often finished results reach the disk."""

RAY_SECONDS = 7.0
"""Ray's start and end, and the first actors."""
TRACKING_SECONDS = 0.03
"""MLflow, a trial: of one core, which the workers want too."""


@dataclass(frozen=True)
class Slots:
    """Where packs run: `workers` at once on `device` (cpu or cuda), each with `cpus` cores, a share
    `gpus` of a GPU and `memory` bytes. beside: slots on the CPUs of other nodes, where a study
    trains on both."""

    workers: int
    device: str
    cpus: int = 1
    gpus: float = 0.0
    memory: float = math.inf
    beside: Slots | None = None

    @property
    def kinds(self) -> tuple[Slots, ...]:
        """These, and those beside them."""
        return (self,) if self.beside is None else (self, self.beside)

    @property
    def text(self) -> str:
        """`2 at once on cuda and 6 on cpu`."""
        first, *others = self.kinds
        return " and ".join(
            [f"{first.workers} at once on {first.device}"]
            + [f"{other.workers} on {other.device}" for other in others]
        )


def local_slots(
    device: str,
    cpus: int,
    gpus: float | None,
    workers: int | None,
    share: Callable[[], float] = lambda: 1.0,
) -> Slots:
    """What Ray will find on this machine, without starting it. share: gives that of a GPU for each
    pack, where `gpus` does not say."""
    cards = len(glob.glob("/dev/nvidia[0-9]*")) if device != "cpu" else 0
    if device in ("cuda", "mixed") or cards:
        gpus = gpus or share()
        found = max(int(cards / gpus + 1e-9), 1)
        count = min(workers or found, found)
        return Slots(count, "cuda", cpus, gpus, memory_of_a_worker(count, "cuda", gpus))
    count = workers or max(1, usable_cpus() // cpus)
    return Slots(count, "cpu", cpus, 0.0, memory_of_a_worker(count, "cpu"))


def slots_of(
    nodes: Sequence[Mapping[str, float]],
    asked: str,
    resources: Resources,
    growing: bool,
    share: Callable[[], float] = lambda: 1.0,
) -> Slots:
    """The slots of a cluster's nodes, each given by its free resources as Ray names them.

    asked: auto, cpu, cuda or mixed, which is cuda and, beside it, the cores of nodes without a GPU.
    growing: a cluster that may add nodes, up to `resources.workers`. share: gives that of a GPU for
    each pack, where the resources do not say (`study.planning.cards`). Raises SpecError where no
    pack fits: Ray would wait for room without a word.
    """
    if asked == "mixed":
        slots = slots_of(nodes, "cuda", resources, growing, share)
        others = [node for node in nodes if not node.get("GPU", 0)]
        if any(node.get("CPU", 0) >= resources.cpus_per_pack for node in others):
            plain = resources.model_copy(update={"gpus_per_pack": None, "workers": None})
            slots = replace(slots, beside=slots_of(others, "cpu", plain, growing=False))
        return slots
    has_gpu = any(node.get("GPU", 0) > 0 for node in nodes)
    device = ("cuda" if has_gpu else "cpu") if asked == "auto" else asked
    gpus = (resources.gpus_per_pack or share()) if device == "cuda" else 0.0
    if resources.gpus_per_pack and device == "cpu":
        raise SpecError(
            f"resources.gpus_per_pack = {resources.gpus_per_pack:g}, but the device is cpu: "
            "remove it, or set device: cuda on a machine with a GPU"
        )
    found, memory = 0, memory_of_a_worker(1, device, gpus) if gpus else math.inf
    for node in nodes:
        fits = int(node.get("CPU", 0) // resources.cpus_per_pack)
        found += min(fits, int(node.get("GPU", 0) / gpus + 1e-9)) if gpus else fits
        if fits and not gpus:
            memory = min(memory, node.get("memory", math.inf) / fits)
    if found == 0 and not (growing and resources.workers):
        largest = max((int(node.get("CPU", 0)) for node in nodes), default=0)
        if device == "cuda" and not has_gpu:
            raise SpecError(
                "device: cuda or mixed needs a GPU, but Ray finds no GPU here: "
                "use --device auto or cpu"
            )
        raise SpecError(
            f"no node has room for a pack of resources.cpus_per_pack = {resources.cpus_per_pack}"
            f"{f' and gpus_per_pack = {gpus:g}' if gpus else ''}: the largest has {largest} cores"
        )
    workers = min(resources.workers or found, found) if found else resources.workers or 1
    return Slots(workers, device, resources.cpus_per_pack, gpus, memory)


@dataclass(frozen=True)
class Pack:
    """Trials that train together on a `device`. cost: seconds of one worker; memory: bytes; keep:
    the networks that stay."""

    trials: tuple[TrialConfig, ...]
    cost: float
    memory: int
    device: str
    keep: Keep | None = None

    @cached_property
    def pack_id(self) -> str:
        """Content id of the set of trials."""
        return pack_id_of(trial.trial_id for trial in self.trials)

    @classmethod
    def of(
        cls, trials: Sequence[TrialConfig], speeds: Speeds, device: str, keep: Keep | None = None
    ) -> Pack:
        """The pack of these trials."""
        cost = seconds_of(trials, speeds) + sampling_seconds(trials, speeds, keep)
        memory = memory_of(trials, keep)
        return cls(tuple(trials), cost, memory, device, keep)

    def halves(self) -> list[Pack]:
        """Two packs with the trials of this one, each with half of its cost."""
        half = len(self.trials) // 2
        parts = (self.trials[:half], self.trials[half:])
        return [
            replace(self, trials=part, cost=self.cost / 2, memory=memory_of(part, self.keep))
            for part in parts
        ]


@dataclass(frozen=True)
class Plan:
    """Packs, longest first, and what they come to on `slots`."""

    packs: tuple[Pack, ...]
    slots: Slots
    speeds: Speeds

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
        """Seconds of all workers together."""
        return math.fsum(pack.cost for pack in self.packs)

    @property
    def rate(self) -> float:
        """Operations of training a second of one worker, with all that it does besides."""
        return self.operations / self.cost if self.packs else 0.0

    @property
    def memory(self) -> int:
        """Bytes that the workers hold at once, at most."""
        return sum(
            sum(heapq.nlargest(kind.workers, (p.memory for p in self.packs_on(kind))))
            for kind in self.slots.kinds
        )

    def packs_on(self, slots: Slots) -> list[Pack]:
        """The packs of one kind of slots."""
        return [pack for pack in self.packs if pack.device == slots.device]

    @property
    def training_seconds(self) -> float:
        """Estimated time until the last worker ends."""
        return max(
            makespan([p.cost for p in self.packs_on(kind)], kind.workers)
            for kind in self.slots.kinds
        )

    @property
    def seconds(self) -> float:
        """Estimated wall-clock time from the command to the last trial, MLflow included. What comes
        after it: `study.planning.concluding`."""
        if not self.packs:
            return 0.0
        slots, trials = self.slots, self.trials
        idle = 0 if slots.device == "cuda" else usable_cpus() - slots.workers * slots.cpus
        tracking = trials * TRACKING_SECONDS / usable_cpus() if idle < 1 else 0.0
        return RAY_SECONDS + self.speeds.startup + self.training_seconds + tracking


def sampling_seconds(trials: Iterable[TrialConfig], speeds: Speeds, keep: Keep | None) -> float:
    """Seconds of one worker for the samples that are drawn of the trials' networks, where every
    step that is asked for is another; 0 without."""
    if keep is None or keep.sampling is None:
        return 0.0
    own = math.fsum(keep.sampling.operations(t) for t in trials if keep.samples(t))
    return len(keep.sampling.rules) * own / speeds.matmul


def pack_id_of(trial_ids: Iterable[str]) -> str:
    """The content id of a pack holding these trials."""
    return content_id(sorted(trial_ids))


def usable_cpus() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def make_plan(
    trials: Sequence[TrialConfig],
    slots: Slots,
    speeds: Speeds,
    memory: float | None = None,
    keep: Keep | None = None,
) -> Plan:
    """Packs for `slots`, whose workers run at `speeds`.

    memory: bytes that a pack may hold, by default what a worker has; a single trial may hold more.
    keep: the networks that stay. Deterministic.
    """
    limit = slots.memory if memory is None else memory
    found = families(trials)
    total = math.fsum(seconds_of(family, speeds) for family in found)
    share = max(total / slots.workers, SMALLEST_SECONDS)
    target = min(max(total / (slots.workers * PACKS_PER_WORKER), MINIMUM_SECONDS), share)
    target = min(target, MAXIMUM_SECONDS)
    largest = min(share, MAXIMUM_SECONDS)
    split = [group for family in found for group in _split(family, speeds, target, largest)]
    groups = _joined(split, speeds, target)
    parts = (part for group in groups for part in _within_memory(group, limit, keep))
    packs = [Pack.of(part, speeds, slots.device, keep) for part in parts]
    packs.sort(key=lambda pack: (-pack.cost, pack.pack_id))
    return Plan(tuple(packs), slots, speeds)


def makespan(costs: Sequence[float], workers: int) -> float:
    """When the last of `workers` workers ends, jobs taken in the order given."""
    loads = [0.0] * max(1, workers)
    for cost in costs:
        heapq.heappush(loads, heapq.heappop(loads) + cost)
    return max(loads)


def families(trials: Sequence[TrialConfig]) -> list[list[TrialConfig]]:
    """The trials whose data differ in the seed alone, those of infinite width apart."""
    return grouped(
        trials,
        lambda t: (
            t.law, t.diffusion, t.samples, t.copies, t.time_law, t.weight, t.study_seed, t.infinite,
        ),
    )  # fmt: skip


def _split(
    family: list[TrialConfig], speeds: Speeds, target: float, largest: float
) -> list[list[TrialConfig]]:
    """A family in groups of about `target` seconds, at most `largest` where trials allow: whole
    data sets, or whole batches (of one width), or neither, whichever costs least."""
    data_sets = grouped(family, lambda t: t.seed)
    batches = grouped(
        family, lambda t: (t.width, t.initialisation, t.bias, t.steps, t.trainer_label)
    )
    units = [unit for unit in (data_sets, batches) if len(unit) < len(family)]
    units.append([[trial] for trial in family])
    options = [_within(unit, speeds, target, largest) for unit in units]
    short = [made for made in options if max(made.costs) <= largest] or options[-1:]
    return min(short, key=lambda made: math.fsum(made.costs)).groups


class _Groups(NamedTuple):
    groups: list[list[TrialConfig]]
    costs: list[float]


def _within(
    units: Sequence[list[TrialConfig]], speeds: Speeds, target: float, largest: float
) -> _Groups:
    """`units` in few groups of nearly equal cost: none above `largest`, unless it is one unit; none
    above `target`, unless a further group would cost more than WASTE beside it."""
    alike = dict[tuple[str, ...], float]()  # seeds cost the same
    weighed = []
    for unit in units:
        points = tuple(trial.point_id for trial in unit)
        if points not in alike:
            alike[points] = seconds_of(unit, speeds)
        weighed.append((alike[points], unit))
    whole = seconds_of(_flat(units), speeds)
    found, count = _Groups([_flat(units)], [whole]), max(math.floor(whole / target), 1)
    while True:
        groups = _dealt(weighed, min(count, len(units)))
        costs = [seconds_of(group, speeds) for group in groups]
        if max(found.costs) <= largest and math.fsum(costs) > (1 + WASTE) * whole:
            return found
        found = _Groups(groups, costs)
        if max(costs) <= target or count >= len(units):
            return found
        # What a batch costs beside its trials does not shrink: at least one group more.
        count = max(count + 1, math.floor(count * min(max(costs) / target, 2.0)))


def _dealt(
    weighed: Sequence[tuple[float, list[TrialConfig]]], count: int
) -> list[list[TrialConfig]]:
    """Units dealt to `count` groups of nearly equal cost, longest first."""
    groups: list[list[TrialConfig]] = [[] for _ in range(count)]
    loads = [(0.0, index) for index in range(count)]
    for cost, members in sorted(weighed, key=lambda unit: -unit[0]):
        load, index = heapq.heappop(loads)
        groups[index] += members
        heapq.heappush(loads, (load + cost, index))
    return groups


def _joined(
    groups: Sequence[list[TrialConfig]], speeds: Speeds, target: float
) -> list[list[TrialConfig]]:
    """Small groups joined, in order of cost, while together they cost no more than `target`: by the
    sum of their costs, which is quick, then by the pack's own."""
    joined: list[list[TrialConfig]] = []
    load = math.inf
    weighed = [(seconds_of(group, speeds), group) for group in groups]
    for cost, members in sorted(weighed, key=lambda group: -group[0]):
        together = load + cost - speeds.pack
        if together <= target and seconds_of(joined[-1] + members, speeds) <= target:
            joined[-1] = joined[-1] + members
            load = together
        else:
            joined.append(members)
            load = cost
    return joined


def _within_memory(
    group: list[TrialConfig], limit: float, keep: Keep | None
) -> list[list[TrialConfig]]:
    if len(group) == 1 or memory_of(group, keep) <= limit:
        return [group]
    half = len(group) // 2
    both = group[:half], group[half:]
    return [part for one in both for part in _within_memory(one, limit, keep)]


def _flat(groups: Iterable[Sequence[TrialConfig]]) -> list[TrialConfig]:
    return [trial for group in groups for trial in group]
