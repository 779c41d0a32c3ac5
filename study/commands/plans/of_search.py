"""What a search costs, before anything is trained: of `scorerates plan`, and where a search begins.

Nobody knows which trials a search will ask for. So trials drawn at random from its space stand for
them, packed as the search packs its own: `batch` of each search at a time, searches side by side.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from analysis.text import counted
from study.choosing.finals import Finalist, Finals, finals_so_far
from study.choosing.guided import TheoryGuided
from study.choosing.participant import Outcomes
from study.choosing.search import (
    DATABASE,
    Behind,
    Where,
    drawn,
    evaluated,
    open_storage,
    stages,
)
from study.commands.located import store_of
from study.planning.calibration import speeds_of
from study.planning.cards import share_of_a_card
from study.planning.concluding import page_seconds
from study.planning.cost import DEFAULT_SPEEDS, seconds_of
from study.planning.memory import memory_of
from study.planning.plan import Plan, local_slots
from study.running.packing import Packing, packing_for
from study.running.progress import duration_text, rate_text
from study.spec.messages import SpecError
from study.spec.search import SearchSection
from study.spec.sections import StudySpec
from study.storage.earlier import check_kind
from study.storage.store import Ledger, Store
from trainers.trial import TrialConfig

DRAWN = 64
"""Trials drawn at each point, used again and again: their mean is within a tenth or two."""


def folder_of(store: Store) -> Path:
    """Where a search keeps Optuna's database. Raises SpecError for a store that is no directory."""
    if store.local is None:
        raise SpecError(
            f"--storage {store.place}: a search keeps Optuna's database ({DATABASE}) beside its "
            "results, and needs a directory for it"
        )
    return store.local


def searches_of(spec: StudySpec, section: SearchSection) -> list[Where]:
    """All searches of a study."""
    return [
        Where(point, sampler, repetition)
        for point in spec.search_points()
        for sampler in section.samplers
        for repetition in range(section.repetitions)
    ]


def guided_of(spec: StudySpec, section: SearchSection) -> list[TheoryGuided]:
    """All theory-guided choices beside them."""
    if section.theory is None:
        return []
    return [
        TheoryGuided(point, repetition, section.theory)
        for point in spec.search_points()
        for repetition in range(section.repetitions)
    ]


def asked_by_theory(guided: TheoryGuided, done: Collection[str]) -> list[TrialConfig]:
    """What it lacks next: pilots, or its trial once they say which."""
    pilots = [pilot for pilot in guided.pilots if pilot.trial_id not in done]
    if pilots or guided.trial is None or guided.trial.trial_id in done:
        return pilots
    return [guided.trial]


@dataclass(frozen=True)
class Lacking:
    """What a search has yet to do. searches: each with the evaluations that it lacks; theory: the
    trials that each theory-guided choice asks for next; unknown: how many of these choices the
    pilots have yet to size; finals: the trials of the finals of each point, at most so many where
    the searches have yet to say which: others stand for them."""

    section: SearchSection
    searches: Sequence[tuple[Where, int]]
    theory: Sequence[list[TrialConfig]]
    unknown: int
    finals: Sequence[list[TrialConfig]] = ()

    @classmethod
    def of(
        cls,
        section: SearchSection,
        searches: Iterable[tuple[Where, int]],
        guided: Sequence[TheoryGuided],
        done: Collection[str],
        finals: Sequence[Finals] = (),
    ) -> Lacking:
        """searches: each with the evaluations that it has. done: ids of the stored trials."""
        searches = list(searches)
        left = [(where, section.evaluations - count) for where, count in searches]
        asked = [trials for one in guided if (trials := asked_by_theory(one, done))]
        unknown = sum(one.trial is None and not one.message for one in guided)
        expected = [
            [t for t in one.trials if t.trial_id not in done]
            if one.begun
            else _stand_ins(section, [w for w, _ in searches if w.point == one.point], guided)
            for one in finals
        ]
        lacking = [(where, n) for where, n in left if n > 0]
        return cls(section, lacking, asked, unknown, [trials for trials in expected if trials])

    @property
    def evaluations(self) -> int:
        """Of all searches."""
        return sum(count for _, count in self.searches)

    def packs(self, packing: Packing, pruned: bool = False) -> Foreseen:
        """The packs to expect. pruned: where the pruner lets 1/factor go on at each rung; else it
        ends none."""
        section, among = self.section, len(self.searches) + len(self.theory)
        size = min(section.batch, section.evaluations)
        if not pruned:
            section = section.model_copy(update={"pruner": None})
        packs = [p for trials in self.theory for p in packing.plan(trials, among).packs]
        longest = 0.0
        for _, group in itertools.groupby(self.searches, lambda one: one[0].point):
            searches = list(group)
            rounds = math.ceil(min(DRAWN, sum(count for _, count in searches)) / size)
            trials = drawn(searches[0][0], section, rounds * size)

            @cache
            def planned(
                number: int, count: int, trials: Sequence[TrialConfig] = trials
            ) -> list[Plan]:
                begun = trials[number * size : number * size + count]
                staged = stages(begun, section)
                return [packing.plan(t, among, rung / t[0].steps) for t, rung in staged]

            numbers = itertools.cycle(range(rounds))
            for _, count in searches:
                counts = [min(size, count - begin) for begin in range(0, count, size)]
                plans = [p for n in counts for p in planned(next(numbers), n)]
                packs += [pack for plan in plans for pack in plan.packs]
                longest = max(longest, math.fsum(plan.training_seconds for plan in plans))
        last = [packing.plan(trials, len(self.finals)) for trials in self.finals]
        packs += [pack for plan in last for pack in plan.packs]
        longest += max((plan.training_seconds for plan in last), default=0.0)
        return Foreseen(Plan(tuple(packs), packing.slots, packing.speeds), longest)

    def time(self, packing: Packing, page: float = 0.0) -> str:
        """How long it will take, in words, with `page` seconds after the training."""
        whole = duration_text(self.packs(packing).seconds + page)
        slots, pruner = packing.slots, self.section.pruner
        where = f"on {slots.workers} {slots.device} workers"
        if pruner is None or not self.searches:
            return f"about {whole} {where}"
        some = duration_text(self.packs(packing, pruned=True).seconds + page)
        share = f"{pruner.kind} lets 1 in {pruner.factor} go on at each rung"
        return f"about {some} {where} if {share}, {whole} if it ends none"

    def assumed(self) -> str:
        """What `time` takes for granted."""
        parts = ["sizes spread evenly over the space, where samplers may come to prefer some"]
        if self.unknown:
            choices = f"{counted(self.unknown, 'trial')} at theory's choice"
            parts.append(f"no time for {choices}, whose size the pilots will say")
            if self.finals:
                parts[-1] += ", nor for these in the finals"
        return "; ".join(parts)


def _stand_ins(
    section: SearchSection, searches: Sequence[Where], guided: Sequence[TheoryGuided]
) -> list[TrialConfig]:
    """Trials for the finals of a point whose winners are not known: as many drawn ones."""
    won = drawn(searches[0], section, len(searches))
    theirs = [g.trial for g in guided if g.trial is not None and g.point == searches[0].point]
    found = [t for one in [*won, *theirs] for t in Finalist(one, ()).trials(section.finals)]
    return [trial.changed(kernel=False) for trial in found]


@dataclass(frozen=True)
class Foreseen:
    """The packs that a search is expected to train. longest: seconds of the search that takes
    longest: each of its rounds waits for the one before."""

    plan: Plan
    longest: float

    @property
    def seconds(self) -> float:
        """From the command to the last trial."""
        return self.plan.seconds + max(0.0, self.longest - self.plan.training_seconds)


@dataclass(frozen=True)
class SearchPlan:
    """What is missing of a search, and what it is expected to cost. place: of its results;
    guided_done: stored trials of theory's; memory: bytes of the largest pack that may come;
    finals: those of every point, finals_done: stored trials of theirs."""

    spec: StudySpec
    section: SearchSection
    place: str
    lacking: Lacking
    packing: Packing
    guided_done: int
    memory: int
    finals: Sequence[Finals]
    finals_done: int

    def rows(self) -> list[tuple[str, str]]:
        """As names and values for a reader."""
        plan, slots = self.lacking.packs(self.packing).plan, self.packing.slots
        size = self.memory / 2**20
        rate = f"{rate_text(plan.rate)} a worker ({plan.speeds.source})"
        most = " at most" if self.section.pruner is not None else ""
        return [
            ("study", self.spec.name),
            ("searches", self._searches()),
            ("evaluations", self._evaluations()),
            *self._theory(),
            *self._finals(),
            ("one evaluation", self._range()),
            ("to train", self._to_train(plan)),
            ("arithmetic", f"{plan.operations:.3g} floating-point operations{most}"),
            (
                "memory",
                f"{slots.workers * size:,.0f} MiB at most, {slots.workers} packs at once, the "
                f"largest of {size:,.0f} MiB",
            ),
            ("time", self._time(plan)),
            ("assumed", self.lacking.assumed()),
            *([("rate", rate)] if plan.rate else []),
            ("results", self.place),
        ]

    def _searches(self) -> str:
        section, points = self.section, len(self.spec.search_points())
        parts = (
            counted(points, "point"),
            counted(len(section.samplers), "sampler"),
            counted(section.repetitions, "repetition"),
        )
        count = points * len(section.samplers) * section.repetitions
        return f"{count:,} ({' x '.join(parts)})"

    def _evaluations(self) -> str:
        section, points = self.section, len(self.spec.search_points())
        wanted = points * len(section.samplers) * section.repetitions * section.evaluations
        done = wanted - self.lacking.evaluations
        return f"{wanted:,}, {section.evaluations:,} of each search ({done:,} done)"

    def _theory(self) -> list[tuple[str, str]]:
        if self.section.theory is None:
            return []
        choices = len(self.spec.search_points()) * self.section.repetitions
        pilots = counted(choices * self.section.theory.seeds, "pilot")
        trials = counted(choices, "trial")
        return [("theory", f"{pilots}, then {trials} at its choice ({self.guided_done:,} done)")]

    def _finals(self) -> list[tuple[str, str]]:
        if not self.finals:
            return []
        wanted, seeds = sum(one.wanted for one in self.finals), self.section.finals
        most = "" if all(one.begun for one in self.finals) else "at most "
        told = f"{most}{counted(wanted, 'trial')}: every winner and theory's choice on "
        return [("finals", f"{told}{counted(seeds, 'fresh seed')} ({self.finals_done:,} done)")]

    def _range(self) -> str:
        """The cheapest and the dearest evaluation."""
        speeds = self.packing.speeds
        costs = [(seconds_of([one], speeds), one) for one in self.spec.search_corners()]
        cheap, dear = (choose(costs, key=lambda c: c[0]) for choose in (min, max))
        return f"{_evaluation(*cheap)} to {_evaluation(*dear)}, of a worker"

    def _to_train(self, plan: Plan) -> str:
        pilots = sum(map(len, self.lacking.theory))
        finals = sum(map(len, self.lacking.finals))
        parts = [counted(self.lacking.evaluations, "evaluation")]
        parts += [f"{counted(pilots, 'trial')} of theory's"] if pilots else []
        parts += [f"{counted(finals, 'trial')} of the finals"] if finals else []
        return f"{_listed(parts)} in some {counted(len(plan.packs), 'pack')}"

    def _time(self, plan: Plan) -> str:
        trained = [trial for pack in plan.packs for trial in pack.trials]
        page = page_seconds([*self.spec.search_corners(), *trained])
        told = self.lacking.time(self.packing, page)
        return f"{told} ({duration_text(page)} of it verdicts and page)"


def _listed(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([part for part in (", ".join(parts[:-1]), parts[-1]) if part])


def _evaluation(seconds: float, trial: TrialConfig) -> str:
    took = f"{seconds:.2g} s" if seconds < 10 else duration_text(seconds)
    where = f"d = {trial.dimension}, N = {trial.samples}, m = {trial.width}"
    return f"{took} ({where}, {trial.trainer})"


def plan_search(
    spec: StudySpec,
    storage: str | Path | None,
    calibrate: bool | None,
    tell: Callable[[str], None],
) -> SearchPlan:
    """The plan of what is missing of a search, on this machine. Arguments as of `plan_study`.
    Raises SpecError where the study is no search, and StoreError."""
    section = spec.searched()
    store = store_of(spec, storage)
    folder = folder_of(store)
    store.check_owner(spec.name)
    check_kind(spec, store)
    ledger = store.ledger()
    guided = guided_of(spec, section)
    found = evaluations_so_far(spec, section, folder)
    finals = finals_now(spec, section, store, ledger, found, guided)
    counts = [(one.where, len(one.trials)) for one in found]
    lacking = Lacking.of(section, counts, guided, ledger.entries.keys(), finals)
    asked = [t for one in guided for t in [*one.pilots, one.trial] if t is not None]
    last = [trial for one in finals for trial in one.trials]
    known = [*asked, *(trial for one in found for trial in one.trials), *last]
    corners, resources = spec.search_corners(), spec.resources
    slots = local_slots(
        spec.device,
        resources.cpus_per_pack,
        resources.gpus_per_pack,
        resources.workers,
        partial(share_of_a_card, corners),
    )
    missing = lacking.searches or lacking.theory or lacking.finals
    speeds = speeds_of(slots, calibrate, tell) if missing else DEFAULT_SPEEDS[slots.device]
    packing = packing_for(slots, spec, known, ledger, speeds)
    return SearchPlan(
        spec,
        section,
        store.place,
        lacking,
        packing,
        sum(trial.trial_id in ledger.entries for trial in asked),
        _largest(packing, corners, lacking),
        finals,
        sum(trial.trial_id in ledger.entries for trial in last),
    )


def finals_now(
    spec: StudySpec,
    section: SearchSection,
    store: Store,
    ledger: Ledger,
    searches: Sequence[Behind],
    guided: Sequence[TheoryGuided],
) -> list[Finals]:
    """The finals of every point with what is stored; brings `guided` to where they are."""
    outcomes = Outcomes(store, ledger.entries)
    for one in guided:
        _advance(one, outcomes)
    return finals_so_far(spec.search_points(), section, searches, guided, outcomes)


def _advance(guided: TheoryGuided, outcomes: Outcomes) -> None:
    """To where it is with what is stored."""
    while (asked := guided.advance(outcomes)) and all(map(outcomes.answer, asked)):
        pass


def evaluations_so_far(spec: StudySpec, section: SearchSection, folder: Path) -> list[Behind]:
    """What each search has behind it."""
    searches = searches_of(spec, section)
    if not (folder / DATABASE).is_file():
        return [Behind(where) for where in searches]
    with open_storage(folder) as database:
        return [evaluated(database, spec.name, w, section) for w in searches]


def _largest(packing: Packing, corners: Sequence[TrialConfig], lacking: Lacking) -> int:
    """Bytes of the largest pack that may come: a round of the largest trials, or theory's."""
    largest = max(corners, key=lambda trial: memory_of([trial]))
    count = min(lacking.section.batch, lacking.section.evaluations)
    rounds = [[largest] * count] if lacking.searches else []
    asked = [*rounds, *lacking.theory, *lacking.finals]
    among = len(lacking.searches) + len(lacking.theory)
    packs = [pack for trials in asked for pack in packing.plan(trials, among).packs]
    return max((pack.memory for pack in packs), default=0)
