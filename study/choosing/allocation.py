"""Who asks for trials, and who trains them: studies whose trials depend on earlier results.

A **participant** asks for trials in stages: when all that it asked for is there, it is called
again, and asks for more or is done. The **scheduler** turns what all of them ask for into packs and
gives them what comes back. A result that the store has already is never trained again, so a
participant that starts over after a kill asks for the same things and runs through what is there.

Knows neither Ray nor Optuna: `study.running.suggest` trains the packs, `study.choosing.search` is a
participant.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from study.planning.cost import DEFAULT_SPEEDS, Speeds
from study.planning.plan import Slots, make_plan
from trainers.trial import TrialConfig, TrialStatus

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Request:
    """A trial, to be trained to its last step, or to the recorded step `until`."""

    config: TrialConfig
    until: int | None = None

    @property
    def last_step(self) -> int:
        """The step that it trains to."""
        return self.config.steps if self.until is None else self.until


@dataclass(frozen=True)
class Outcome:
    """What became of a trial so far. Columns [R], by recorded step; NaN where not measured.

    `operations`: of the training, to the last of the steps.
    """

    status: str
    steps: NDArray[np.int64]
    series: Mapping[str, Array]
    values: Mapping[str, float]
    operations: float
    pack_id: str = ""

    def answers(self, request: Request) -> bool:
        """Whether this is all that `request` asks for: nothing more would come of training."""
        if self.status != TrialStatus.PRUNED:
            return True
        return int(self.steps[-1]) >= request.last_step


class Participant(Protocol):
    """Something that asks for trials: a search, a theory-guided choice, an allocation of seeds."""

    def advance(self, outcomes: Mapping[str, Outcome]) -> Sequence[Request]:
        """What it needs next, given the outcomes by trial id; empty where it is done. Called when
        everything that it asked for before has its outcome."""

    def finished_trials(self) -> Collection[str]:
        """Ids of the trials that it will not ask for again."""


SERIES = ("score_error", "holdout_loss", "train_loss", "kernel_complexity", "coupling")
VALUES = ("noise_variance", "largest_step_size", "operations")


def outcomes_of(table: pa.Table, pack_id: str = "") -> dict[str, Outcome]:
    """Trial id -> outcome, of rows of the results table."""
    frame = table.to_pandas()
    found = {}
    for trial_id, rows in frame.groupby("trial_id", sort=False):
        rows = rows.sort_values("step")
        first = rows.iloc[0]
        values = {n: float(first[n]) for n in VALUES if first[n] is not None}
        found[str(trial_id)] = Outcome(
            str(first["status"]),
            rows["step"].to_numpy(dtype=np.int64),
            {n: rows[n].to_numpy(dtype=float, na_value=np.nan) for n in SERIES},
            values,
            values.get("operations", 0.0),
            pack_id,
        )
    return found


@dataclass(frozen=True)
class Batch:
    """Requests that train as one pack, all to the same step."""

    requests: tuple[Request, ...]

    @property
    def configs(self) -> tuple[TrialConfig, ...]:
        """The trials."""
        return tuple(request.config for request in self.requests)

    @property
    def until(self) -> int | None:
        """Where all of them stop; None for their last steps."""
        return self.requests[0].until


@dataclass
class _Waiting:
    participant: Participant
    needs: dict[str, Request] = field(default_factory=dict)


class Scheduler:
    """Keeps up to `workers` packs in the hands of whoever trains them.

    `on_final` is told the ids of the trials that no participant will ask for again.
    """

    def __init__(
        self,
        participants: Iterable[Participant],
        outcomes: dict[str, Outcome],
        workers: int,
        on_final: Callable[[list[str]], None] = lambda ids: None,
    ) -> None:
        self._waiting = [_Waiting(participant) for participant in participants]
        self._outcomes, self._on_final = outcomes, on_final
        self._slots, self._speeds = Slots(workers, "cpu"), DEFAULT_SPEEDS["cpu"]
        self._queue: list[Batch] = []
        self._running: dict[str, Request] = {}
        self._final: set[str] = set()

    def on(self, slots: Slots, speeds: Speeds) -> None:
        """What follows is for these workers, which run at `speeds`."""
        self._slots, self._speeds = slots, speeds

    @property
    def done(self) -> bool:
        """Whether every participant is, and nothing is running."""
        return not self._waiting and not self._running

    def idle(self) -> bool:
        """Whether nothing is left to train: all that is asked for is there."""
        if not self._queue:
            self._ask()
        return self.done and not self._queue

    def next_batch(self) -> Batch | None:
        """Something to train now, or None where everything waits for what is running."""
        if not self._queue:
            self._ask()
        if not self._queue:
            return None
        batch = self._queue.pop(0)
        self._running |= {r.config.trial_id: r for r in batch.requests}
        return batch

    def known(self, trial_ids: Iterable[str]) -> int:
        """How many of these have an outcome."""
        return sum(trial_id in self._outcomes for trial_id in trial_ids)

    def came_back(self, outcomes: Mapping[str, Outcome]) -> None:
        """The outcomes of a pack."""
        self._outcomes.update(outcomes)
        for trial_id in outcomes:
            self._running.pop(trial_id, None)

    def put_back(self, batch: Batch) -> None:
        """A pack whose worker died: its trials are tried again, each alone."""
        for request in batch.requests:
            self._running.pop(request.config.trial_id, None)
            self._queue.append(Batch((request,)))

    def _ask(self) -> None:
        """Asks every participant that has its answers, until there is something to train."""
        for one in list(self._waiting):
            # Not the same trial twice at a time: two samplers may ask for one.
            while all(self._has(request) for request in one.needs.values()):
                wanted = one.participant.advance(self._outcomes)
                self._announce(one.participant)
                if not wanted:
                    self._waiting.remove(one)
                    break
                one.needs = {r.config.trial_id: r for r in wanted}
                missing = [r for r in one.needs.values() if not self._has(r)]
                self._queue += self._packed([r for r in missing if not self._busy(r)])
            else:
                # Somebody else trained what this one waits for, but not as far.
                left = [r for r in one.needs.values() if not self._has(r) and not self._busy(r)]
                self._queue += self._packed(left)

    def _has(self, request: Request) -> bool:
        outcome = self._outcomes.get(request.config.trial_id)
        return outcome is not None and outcome.answers(request)

    def _busy(self, request: Request) -> bool:
        trial_id = request.config.trial_id
        queued = any(r.config.trial_id == trial_id for b in self._queue for r in b.requests)
        return queued or trial_id in self._running

    def _packed(self, requests: Sequence[Request]) -> list[Batch]:
        """`requests` as packs: for each participant as many workers as fall to it, at least one."""
        batches = []
        share = max(1, self._slots.workers // max(1, len(self._waiting)))
        slots = replace(self._slots, workers=share)
        for until in dict.fromkeys(r.until for r in requests):
            own = {r.config.trial_id: r for r in requests if r.until == until}
            trials = [r.config for r in own.values()]
            speeds = self._speeds
            if until is not None:
                speeds = speeds.slower(until / trials[0].steps, speeds.source)
            batches += [
                Batch(tuple(own[trial.trial_id] for trial in pack.trials))
                for pack in make_plan(trials, slots, speeds).packs
            ]
        return batches

    def _announce(self, participant: Participant) -> None:
        new = [t for t in participant.finished_trials() if t not in self._final]
        if new:
            self._final.update(new)
            self._on_final(new)
