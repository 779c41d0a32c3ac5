"""From what participants ask for to packs, and from packs that come back to the next question.

Knows nothing of Ray: `study.running.engine` trains the packs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from study.choosing.participant import Outcomes, Participant, Request
from study.planning.plan import Pack, Plan
from study.running.packing import Packing
from trainers.trial import TrialConfig


@dataclass(frozen=True)
class Work:
    """A pack whose trials all train to the same step: `until`, or None for their last."""

    pack: Pack
    until: int | None = None

    @property
    def trials(self) -> tuple[TrialConfig, ...]:
        """The trials."""
        return self.pack.trials

    def operations(self) -> float:
        """Floating-point operations of the training."""
        return sum(
            t.training_operations * (1.0 if self.until is None else self.until / t.steps)
            for t in self.trials
        )

    def halves(self) -> list[Work]:
        """Two packs with the trials of this one."""
        return [Work(half, self.until) for half in self.pack.halves()]


@dataclass
class _Asking:
    participant: Participant
    needs: dict[str, Request] = field(default_factory=dict)


class Scheduler:
    """Asks participants, packs what they ask for, and hands out the packs. A participant stands
    behind those that it comes after.

    on_final: told the pack and the ids of trials whose rows will never change again, as soon as
    they are known, those of earlier runs included.
    """

    def __init__(
        self,
        participants: Iterable[Participant],
        outcomes: Outcomes,
        on_final: Callable[[str, list[str]], None] = lambda pack_id, ids: None,
    ) -> None:
        self._asking = [_Asking(participant) for participant in participants]
        self.asks_once = all(one.participant.asks_once for one in self._asking)
        self.asked: dict[str, TrialConfig] = {}
        self._outcomes, self._on_final = outcomes, on_final
        self._packing: Packing | None = None
        self._unpacked: list[list[Request]] = []
        self._queue: list[Work] = []
        self._busy: set[str] = set()
        self._final: set[str] = set()
        self._back: list[str] = []  # since participants were last asked
        self._began = False

    @property
    def done(self) -> bool:
        """Whether every participant is, and everything came back."""
        return not self._asking and not self._busy

    @property
    def final(self) -> int:
        """How many trials are as they will stay."""
        return len(self._final)

    def idle(self) -> bool:
        """Whether nothing is left to train: all that is asked for is there."""
        self._ask()
        return self.done

    def on(self, packing: Packing) -> Plan:
        """What follows is packed so; the packs of what waits now."""
        self._packing = packing
        self._pack()
        return Plan(tuple(work.pack for work in self._queue), packing.slots, packing.speeds)

    def next_work(self, device: str | None = None) -> Work | None:
        """A pack to train now, on `device` where it is given, or None where there is none until
        more comes back."""
        work = self._taken(device)
        if work is None:
            self._ask()
            self._pack()
            work = self._taken(device)
        return work

    def came_back(self, work: Work, pack_id: str) -> None:
        """A pack is stored, under this id."""
        trial_ids = [trial.trial_id for trial in work.trials]
        self._outcomes.came_back(trial_ids, pack_id, work.until)
        self._busy.difference_update(trial_ids)
        self._back += trial_ids
        if work.until is None:
            self._announce(trial_ids)

    def put_back(self, works: Iterable[Work]) -> None:
        """Packs to be tried after all others."""
        self._queue += works

    def _taken(self, device: str | None) -> Work | None:
        for index, work in enumerate(self._queue):
            if device in (None, work.pack.device):
                return self._queue.pop(index)
        return None

    def _ask(self) -> None:
        """Asks every participant that has its answers."""
        if self._began and not self._back:
            return
        self._began, back, self._back = True, self._back, []
        for one in list(self._asking):
            if self._waits(one):
                continue
            for trial_id in back:
                if trial_id in one.needs and self._outcomes.answer(one.needs[trial_id]):
                    del one.needs[trial_id]
            while not one.needs:
                wanted = one.participant.advance(self._outcomes)
                self._announce(one.participant.finished_trials())
                if not wanted:
                    self._asking.remove(one)
                    break
                self._note(one, wanted)
            # Not the same trial twice at a time: two samplers may ask for one. It is asked for
            # again where it came back, but not trained as far as this one needs.
            new = [r for trial_id, r in one.needs.items() if trial_id not in self._busy]
            if new:
                self._busy.update(r.config.trial_id for r in new)
                self._unpacked.append(new)

    def _waits(self, one: _Asking) -> bool:
        """Whether a participant that it comes after is not done."""
        at_work = {id(other.participant) for other in self._asking}
        return any(id(other) in at_work for other in one.participant.after)

    def _note(self, one: _Asking, wanted: Sequence[Request]) -> None:
        there = []
        for request in wanted:
            trial_id = request.config.trial_id
            self.asked[trial_id] = request.config
            if not self._outcomes.answer(request):
                one.needs[trial_id] = request
            elif request.until is None:
                there.append(trial_id)
        self._announce(there)

    def _pack(self) -> None:
        """Packs what waits: for each participant as many workers as fall to it, at least one."""
        assert self._packing is not None
        among = sum(not self._waits(one) for one in self._asking)
        for requests in self._unpacked:
            for until in dict.fromkeys(r.until for r in requests):
                trials = [r.config for r in requests if r.until == until]
                part = 1.0 if until is None else until / trials[0].steps
                plan = self._packing.plan(trials, among, part)
                self._queue += [Work(pack, until) for pack in plan.packs]
        self._unpacked = []

    def _announce(self, trial_ids: Iterable[str]) -> None:
        packs: dict[str, list[str]] = {}
        for trial_id in trial_ids:
            pack_id = self._outcomes.pack_of(trial_id)
            if pack_id is not None and trial_id not in self._final:
                self._final.add(trial_id)
                packs.setdefault(pack_id, []).append(trial_id)
        for pack_id, ids in packs.items():
            self._on_final(pack_id, ids)
