"""How trials that are asked for become packs: for which slots, at which speeds, in what memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from study.planning.calibration import speeds_of
from study.planning.cost import Speeds, seconds_of
from study.planning.mixed import make_mixed_plan
from study.planning.plan import Plan, Slots, make_plan
from study.spec.sections import StudySpec
from study.storage.store import Ledger
from trainers.kept.keep import Keep
from trainers.trial import TrialConfig

MEASURED_SECONDS = 30.0
"""Finished trials say how fast the next ones will be, if together they took this long."""


@dataclass(frozen=True)
class Packing:
    """Packs for `slots`, whose workers run at `speeds`, and those beside them at `beside`.

    memory: bytes that a pack may hold, None for what a worker has. keep: the networks that stay.
    """

    slots: Slots
    speeds: Speeds
    beside: Speeds | None = None
    memory: float | None = None
    keep: Keep | None = None

    def plan(self, trials: Sequence[TrialConfig], among: int = 1, part: float = 1.0) -> Plan:
        """The packs of `trials`, of whose steps a `part` is trained, for one of `among` that share
        the workers: each has at least one."""
        slots, speeds = _shared(self.slots, among), self.speeds
        beside = self.beside
        if part != 1:
            speeds = speeds.slower(part, speeds.source)
            beside = beside and beside.slower(part, beside.source)
        plan = make_plan(trials, slots, speeds, self.memory, self.keep)
        if beside is None:
            return plan
        return make_mixed_plan(trials, plan, beside, self.memory, self.keep)


def packing_for(
    slots: Slots, spec: StudySpec, trials: Iterable[TrialConfig], ledger: Ledger, speeds: Speeds
) -> Packing:
    """The packing of a study on `slots`, at `speeds`, or as much slower or faster than these as
    those of `trials` were that are finished."""
    limit = spec.resources.memory_per_pack
    return Packing(
        slots,
        _measured(slots, trials, ledger, speeds),
        None if slots.beside is None else speeds_of(slots.beside, calibrate=False),
        None if limit is None else limit * 2**30,
        spec.kept(),
    )


def _shared(slots: Slots, among: int) -> Slots:
    if among <= 1:
        return slots
    beside = None if slots.beside is None else _shared(slots.beside, among)
    return replace(slots, workers=max(1, slots.workers // among), beside=beside)


def _measured(
    slots: Slots, trials: Iterable[TrialConfig], ledger: Ledger, speeds: Speeds
) -> Speeds:
    finished: dict[str, list[TrialConfig]] = {}
    took = 0.0
    on_cpu = slots.device == "cpu"
    for trial in trials:
        entry = ledger.entries.get(trial.trial_id)
        if entry is None or not entry.finished or (entry.device == "cpu") != on_cpu:
            continue
        if entry.seconds:
            finished.setdefault(entry.pack_id, []).append(trial)
            took += entry.seconds
    if took < MEASURED_SECONDS:
        return speeds
    expected = sum(seconds_of(pack, speeds) for pack in finished.values())
    count = sum(map(len, finished.values()))
    return speeds.slower(took / expected, f"measured on {count} finished trials")
