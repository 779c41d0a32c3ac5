"""The theory-guided choice as a participant: pilots, then one trial at what theory says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from study.choosing.participant import Outcome, Participant, Request
from study.choosing.theory_choice import Choice, guided_choice
from study.spec.search import Guided
from trainers.stopping import a_priori_constant
from trainers.trial import TrialConfig, TrialStatus


class TheoryGuided(Participant):
    """One repetition at one point: `seeds` pilots at a small N, whose seeds no other repetition
    has, then the trial that their constant leads to. `message`: why there is none.

    Both have a kernel reference: it gives the largest step size, and `rademacher` needs it.
    """

    def __init__(self, point: TrialConfig, repetition: int, section: Guided) -> None:
        self.point, self.repetition = point, repetition
        self.pilots = [
            point.changed(
                samples=section.samples,
                width=section.width,
                step_size=section.step_size,
                seed=repetition * section.seeds + i,
                kernel=True,
            )
            for i in range(section.seeds)
        ]
        self.constant: float | None = None
        self.choice: Choice | None = None
        self.trial: TrialConfig | None = None
        self.message = ""
        self._stage = 0

    def advance(self, outcomes: Mapping[str, Outcome]) -> Sequence[Request]:
        """The pilots, then the trial, then nothing."""
        self._stage += 1
        if self._stage == 1:
            return [Request(pilot) for pilot in self.pilots]
        if self._stage == 2:
            self._choose([outcomes[pilot.trial_id] for pilot in self.pilots])
            if self.trial is not None:
                return [Request(self.trial)]
        return []

    def _choose(self, pilots: Sequence[Outcome]) -> None:
        times = []
        for config, outcome in zip(self.pilots, pilots, strict=True):
            if outcome.status != TrialStatus.COMPLETED:
                self.message = f"a pilot at N = {config.samples} {outcome.status}"
                return
            index = int(np.nanargmin(outcome.series["holdout_loss"]))
            if index in (0, len(outcome.steps) - 1):
                end = "its first" if index == 0 else "its last"
                remedy = "the study more steps"
                if index == 0:
                    remedy = "search.theory a larger width, or a smaller step_size"
                self.message = (
                    f"a pilot at N = {config.samples} has its least held-out loss at {end} step: "
                    f"give {remedy}, or search.theory.samples another value"
                )
                return
            times.append(config.step_size * float(outcome.steps[index]))
        samples, d = self.pilots[0].samples, self.point.dimension
        self.constant = a_priori_constant(times, samples, d)
        largest = min(outcome.values["largest_step_size"] for outcome in pilots)
        self.choice = guided_choice(self.point.samples, d, self.constant, largest)
        self.trial = self.point.changed(
            width=self.choice.width,
            step_size=self.choice.step_size,
            steps=self.choice.steps,
            seed=self.repetition,
            kernel=True,
        )
