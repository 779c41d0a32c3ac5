"""An adaptive design as a participant of study.choosing.participant: rounds of trials, each a
function of the stored results of those before.

A family is the points of a study that differ in N only: one curve for each quantity. Its pilot has
trials at every N; then `analysis.fits.half_width` says which N get more. Only spreads, costs and
the rules of what a fit may use decide; no exponent and no verdict does.

Costs are those of the cost model at its default speeds, so that a study that another machine goes
on with makes the same rounds. Minutes are those that the stored packs took, of one worker.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.data.curves.quantities import Curve, curves
from analysis.data.results import tidy
from analysis.fits.half_width import PILOT, Design, Round, next_round, pilot_counts
from analysis.verdicts.judging import usable
from study.choosing.participant import Outcome, Participant, Request, lost
from study.planning.cost import DEFAULT_SPEEDS, seconds_of
from study.spec.design import DesignSection
from study.spec.messages import SpecError
from study.storage.store import Ledger, Store
from trainers.trial import TrialConfig, TrialStatus

BATCH = 8
"""A trial's cost is its share of a pack of so many seeds."""

Results = Callable[[Sequence[str]], tuple[pd.DataFrame, float]]
"""Trial ids -> the results table of those that are stored, and the seconds that they took."""


@dataclass
class _Family:
    """Points by N, what a trial of each costs, and how many seeds each was asked for."""

    points: list[TrialConfig]
    costs: NDArray[np.float64]
    asked: NDArray[np.int64]
    values: int = 0
    closed: str = ""
    half_widths: dict[str, float] = field(default_factory=dict)

    @property
    def levels(self) -> NDArray[np.float64]:
        return np.array([float(point.samples) for point in self.points])

    @property
    def cost(self) -> float:
        """Of all that was asked for."""
        return float(self.asked @ self.costs)

    def trials(self) -> list[TrialConfig]:
        return [
            point.changed(seed=seed)
            for point, count in zip(self.points, self.asked, strict=True)
            for seed in range(int(count))
        ]


@dataclass(frozen=True)
class Status:
    """Where a family is: its label, the half-widths that its exponents have now, how it ended."""

    label: str
    half_widths: Mapping[str, float]
    closed: str
    trials: Mapping[int, int]

    @property
    def lines(self) -> tuple[str, str]:
        """How it ended and how precise it is; where its seeds went."""
        widths = ", ".join(f"{name} ± {w:.3g}" for name, w in self.half_widths.items())
        counts = ", ".join(f"{n}: {count}" for n, count in self.trials.items())
        return f"{self.closed or 'not done'}; {widths or '-'}", f"seeds by N: {counts}"


class AdaptiveDesign(Participant):
    """The trials of a study with a design; `trials` are those asked for until now.

    Raises SpecError where the budget does not reach for the pilot.
    """

    def __init__(
        self, points: Sequence[TrialConfig], section: DesignSection, results: Results
    ) -> None:
        self._section, self._results = section, results
        self._families = [_family(own) for own in families(points)]
        self.rounds = 0
        pilot = sum(int(_pilot(family, section).sum()) for family in self._families)
        if section.budget.trials is not None and section.budget.trials < pilot:
            raise SpecError(
                f"design.budget.trials = {section.budget.trials}: the pilot alone takes {pilot}, "
                "give at least that"
            )

    @property
    def trials(self) -> list[TrialConfig]:
        """All that was asked for, by family, N and seed."""
        return [trial for family in self._families for trial in family.trials()]

    def advance(self, outcomes: Mapping[str, Outcome]) -> Sequence[Request]:
        """The pilot, then round after round; nothing when all targets are reached or the budget is
        spent. The outcomes themselves are read from the store."""
        before = {trial.trial_id for trial in self.trials}
        if self.rounds == 0:
            for family in self._families:
                family.asked = _pilot(family, self._section)
        else:
            self._decide()
        new = [trial for trial in self.trials if trial.trial_id not in before]
        self.rounds += bool(new)
        return [Request(trial) for trial in new]

    def status(self) -> list[Status]:
        """How each family stands."""
        found = []
        for family in self._families:
            first = family.points[0]
            label = f"{first.law.label}, d = {first.dimension}, m = {first.width}"
            counts = {p.samples: int(n) for p, n in zip(family.points, family.asked, strict=True)}
            found.append(Status(label, dict(family.half_widths), family.closed, counts))
        return found

    def _decide(self) -> None:
        trials = self.trials
        frame, seconds = self._results([trial.trial_id for trial in trials])
        # The points have one g, which results of earlier versions do not say.
        g = trials[0].diffusion
        frame = frame.assign(g_min=g.g_min, g_max=g.g_last)
        cost = sum(family.cost for family in self._families)
        budget = self._section.budget
        # In the unit of the costs: seconds of the cost model.
        left = math.inf
        if budget.minutes is not None:
            left = (60 * budget.minutes - seconds) * cost / seconds if seconds > 0 else 0.0
        number = math.inf if budget.trials is None else float(budget.trials - len(trials))
        for family in [family for family in self._families if not family.closed]:
            waiting = sum(not other.closed for other in self._families)
            more, price = self._of(family, frame, max(left, 0.0) / waiting, number // waiting)
            left, number = left - price, number - more

    def _of(
        self, family: _Family, frame: pd.DataFrame, budget: float, trials: float
    ) -> tuple[int, float]:
        """Adds a family's next trials, or closes it; returns how many, and their cost."""
        ids = {trial.trial_id for trial in family.trials()}
        own = frame[frame["trial_id"].isin(ids)]
        found = {curve.quantity: curve for curve in curves(own) if curve.axis == "samples"}
        targets = self._section.half_width
        lacking = [name for name in targets if name not in found]
        if lacking:
            family.closed = f"no trial has a value of {lacking[0]}"
            return 0, 0.0
        kept = {name: usable(found[name])[0] for name in targets}
        values = sum(len(curve.x) for curve in kept.values())
        levels = set.intersection(*(set(curve.x.tolist()) for curve in kept.values()))
        index = np.flatnonzero(np.isin(family.levels, sorted(levels)))
        if len(index) < 3 or values <= family.values:
            family.closed = (
                "fewer than three N have values that a fit may use"
                if len(index) < 3
                else "the last round brought no value that a fit may use"
            )
            return 0, 0.0
        family.values = values
        designs = [_design(family, index, kept[name]) for name in targets]
        step = next_round(designs, list(targets.values()), budget, trials)
        family.half_widths = dict(zip(targets, step.half_widths, strict=True))
        return _add(family, index, step)


def _add(family: _Family, index: NDArray[np.int64], step: Round) -> tuple[int, float]:
    if step.reached:
        family.closed = "reached"
    elif not step.more.any():
        family.closed = "the budget is spent"
    more = np.zeros_like(family.asked)
    more[index] = step.more
    family.asked = family.asked + more
    return int(more.sum()), float(more @ family.costs)


def _design(family: _Family, index: NDArray[np.int64], curve: Curve) -> Design:
    at = np.isin(curve.x, family.levels[index])
    return Design.of(
        family.levels[index], family.costs[index], curve.x[at], curve.y[at], curve.geometric
    )


def families(points: Sequence[TrialConfig]) -> list[list[TrialConfig]]:
    """Points that differ in N only, by N; each point once, in order of appearance."""
    found: dict[str, dict[int, TrialConfig]] = {}
    for point in points:
        # Of infinite width the steps follow from N.
        own = {"samples", "seed", "steps"} if point.infinite else {"samples", "seed"}
        key = point.model_dump_json(exclude=own)
        found.setdefault(key, {}).setdefault(point.samples, point)
    return [[own[n] for n in sorted(own)] for own in found.values()]


def prices(points: Sequence[TrialConfig]) -> NDArray[np.float64]:
    """What a trial of each point costs [L], in seconds of the cost model at its default speeds."""
    costs = [
        seconds_of([p.changed(seed=i) for i in range(BATCH)], DEFAULT_SPEEDS["cpu"]) / BATCH
        for p in points
    ]
    return np.array(costs)


def _family(points: list[TrialConfig]) -> _Family:
    return _Family(points, prices(points), np.zeros(len(points), dtype=np.int64))


def _pilot(family: _Family, section: DesignSection) -> NDArray[np.int64]:
    return pilot_counts(family.costs, section.pilot or PILOT)


def results_in(store: Store) -> Results:
    """The results that `store` holds at the time of asking."""

    def read(trial_ids: Sequence[str]) -> tuple[pd.DataFrame, float]:
        ledger = store.ledger()
        lacking = sum(trial_id not in ledger.entries for trial_id in trial_ids)
        if lacking:
            raise lost(store, lacking)
        tables = [table.to_pandas() for table in store.rows(trial_ids, ledger)]
        known = [ledger.entries[i] for i in trial_ids if i in ledger.entries]
        return tidy(pd.concat(tables)), sum(entry.seconds for entry in known)

    return read


def replayed(
    points: Sequence[TrialConfig], section: DesignSection, store: Store, ledger: Ledger
) -> AdaptiveDesign:
    """The design as far as the stored results go: its last round may be incomplete."""
    design = AdaptiveDesign(points, section, results_in(store))
    tried = {i for i, e in ledger.entries.items() if e.status != TrialStatus.PRUNED}
    while asked := design.advance({}):
        if any(request.config.trial_id not in tried for request in asked):
            break
    return design
