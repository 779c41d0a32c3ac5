"""The finals of a point as a participant: who won there, trained on data that nobody has seen.

The least loss of a search is that of its repetition's own data, and was chosen for being low. So
the finalists, the distinct hyperparameters that won a search or that theory chose, are all trained
on the same fresh seeds, each to the last step that it had there, and compared with one another
(`analysis.searches.finals`). Held-out points are the study's, the searches' as well: they have no
seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from study.choosing.guided import TheoryGuided
from study.choosing.participant import Outcome, Outcomes, Participant, Request
from study.choosing.search import Behind, Search, best_until
from study.spec.search import SearchSection
from trainers.trial import TrialConfig

FIRST_FRESH = 10_000_000
"""The first fresh seed: above those of all repetitions and pilots that a study may have."""


@dataclass(frozen=True)
class Finalist:
    """A trial that was chosen, without a kernel reference, and the ids of all trials with its
    hyperparameters that were."""

    config: TrialConfig
    chosen: tuple[str, ...]

    def trials(self, seeds: int) -> list[TrialConfig]:
        """It on so many fresh seeds."""
        return [self.config.changed(seed=FIRST_FRESH + i) for i in range(seeds)]


def finalists(chosen: Sequence[TrialConfig]) -> list[Finalist]:
    """The distinct hyperparameters among trials that were chosen, in their order; none where all
    chose the same: there is nothing to compare."""
    found: dict[str, list[TrialConfig]] = {}
    for trial in chosen:
        found.setdefault(trial.changed(kernel=False).point_id, []).append(trial)
    if len(found) < 2:
        return []
    return [
        Finalist(same[0].changed(kernel=False), tuple(one.trial_id for one in same))
        for same in found.values()
    ]


class Finals(Participant):
    """The finals of one point, once its searches and theory's choices are over. winners: the
    trials that won the searches, asked for then. most: finalists, where they are not known yet."""

    def __init__(
        self,
        point: TrialConfig,
        searches: Sequence[Participant],
        guided: Sequence[TheoryGuided],
        winners: Callable[[], Sequence[TrialConfig]],
        seeds: int,
        most: int,
    ) -> None:
        self.point, self.after = point, (*searches, *guided)
        self.finalists: list[Finalist] = []
        self.begun = False
        self._guided, self._winners, self._seeds, self._most = guided, winners, seeds, most

    def advance(self, outcomes: Mapping[str, Outcome]) -> Sequence[Request]:
        """The trials of all finalists, then nothing."""
        if self.begun:
            return []
        self.begun = True
        theirs = [one.trial for one in self._guided if one.trial is not None]
        stopped = [t for t in theirs if best_until(outcomes[t.trial_id], t.steps) is not None]
        if self._seeds:
            self.finalists = finalists([*self._winners(), *stopped])
        return [Request(trial) for trial in self.trials]

    @property
    def trials(self) -> list[TrialConfig]:
        """Of all finalists; empty until they are known."""
        return [trial for one in self.finalists for trial in one.trials(self._seeds)]

    @property
    def wanted(self) -> int:
        """How many trials these are, or will be at most."""
        return len(self.trials) if self.begun else self._seeds * self._most


def finals_of(
    points: Sequence[TrialConfig],
    section: SearchSection,
    searches: Sequence[Search | Behind],
    guided: Sequence[TheoryGuided],
) -> list[Finals]:
    """The finals of every point; without any, none."""
    if not section.most_finalists:
        return []

    def at(point: TrialConfig) -> Finals:
        own = [one for one in searches if one.where.point == point]
        asking = [one for one in own if isinstance(one, Search)]
        theirs = [one for one in guided if one.point == point]
        return Finals(
            point, asking, theirs, partial(_winners, own), section.finals, section.most_finalists
        )

    return [at(point) for point in points]


def _winners(searches: Sequence[Search | Behind]) -> list[TrialConfig]:
    found = [s.winner() if isinstance(s, Search) else s.winner for s in searches]
    return [winner for winner in found if winner is not None]


def finals_so_far(
    points: Sequence[TrialConfig],
    section: SearchSection,
    searches: Sequence[Behind],
    guided: Sequence[TheoryGuided],
    outcomes: Outcomes,
) -> list[Finals]:
    """The finals of every point, those begun whose searches and theory's choices are over. guided:
    advanced to where they are."""
    finals = finals_of(points, section, searches, guided)
    for one in finals:
        own = [s for s in searches if s.where.point == one.point]
        theirs = [g for g in guided if g.point == one.point]
        asked = [t for g in theirs for t in (*g.pilots, g.trial) if t is not None]
        there = all(outcomes.pack_of(trial.trial_id) is not None for trial in asked)
        if there and all(len(s.trials) >= section.evaluations for s in own):
            one.advance(outcomes)
    return finals
