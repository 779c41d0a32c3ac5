"""A study whose trials are known from the start, as a participant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from study.choosing.participant import Outcome, Participant, Request
from trainers.trial import TrialConfig


class Grid(Participant):
    """Asks for all of its trials, once."""

    asks_once = True

    def __init__(self, trials: Sequence[TrialConfig]) -> None:
        self.trials = trials
        self._asked = False

    def advance(self, outcomes: Mapping[str, Outcome]) -> Sequence[Request]:
        """All trials, then nothing."""
        if self._asked:
            return []
        self._asked = True
        return [Request(trial) for trial in self.trials]
