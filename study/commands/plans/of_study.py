"""`scorerates plan`: what a study costs, before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

from analysis.data.curves.quantities import curves
from analysis.data.schema import ResultsError
from analysis.data.sweeps import MINIMUM_DRAWS, family
from analysis.data.table import load_table
from analysis.text import counted
from analysis.verdicts.expected import Planned, Scales, expected, measured_scales
from study.commands.located import store_of, trials_of
from study.planning.asked import planned_curves
from study.planning.calibration import speeds_of
from study.planning.cards import share_of_a_card
from study.planning.concluding import page_seconds
from study.planning.cost import DEFAULT_SPEEDS
from study.planning.plan import Plan, local_slots
from study.running.audits import missing_audits, seconds_of_audits
from study.running.packing import packing_for
from study.running.progress import bytes_text, duration_text, rate_text
from study.spec.sections import StudySpec
from study.storage.earlier import changed_trainers, check_kind
from study.storage.store import Store
from trainers.trial import TrialConfig


@dataclass(frozen=True)
class StudyPlan:
    """The packs of what is missing of a study, and what they cost. place: of its results. scales:
    how its own trials scatter, where it has any (`analysis.verdicts.expected`). audits: seconds of
    those that are missing."""

    spec: StudySpec
    place: str
    trials: list[TrialConfig]
    plan: Plan
    scales: Scales = field(default_factory=dict)
    audits: float = 0.0

    def rows(self) -> list[tuple[str, str]]:
        """As names and values for a reader."""
        plan, trials, slots = self.plan, self.trials, self.plan.slots
        rate = f"{rate_text(plan.rate)} a worker ({plan.speeds.source})"
        done = len(trials) - plan.trials
        return [
            ("study", self.spec.name),
            ("trials", f"{len(trials):,} ({done:,} done)"),
            ("points", self._points()),
            ("to train", f"{plan.trials:,} trials in {counted(len(plan.packs), 'pack')}"),
            ("arithmetic", f"{plan.operations:.3g} floating-point operations{self._guessed()}"),
            (
                "memory",
                f"{plan.memory / 2**20:,.0f} MiB at most, {slots.workers} packs at once",
            ),
            ("time", self._time()),
            *([("rate", rate)] if plan.rate else []),
            *self._networks(),
            ("results", self.place),
        ]

    def _guessed(self) -> str:
        """Which trainers it is not known of before they are loaded."""
        own = sorted({t.trainer for p in self.plan.packs for t in p.trials if ":" in t.trainer})
        return f" ({', '.join(own)} counted as the paper's network: a guess)" if own else ""

    def _time(self) -> str:
        """All of it, and its parts after the training."""
        slots, page = self.plan.slots, page_seconds(self.trials)
        whole = duration_text(self.plan.seconds + self.audits + page)
        parts = [f"{duration_text(self.audits)} of it the audit"] if self.audits else []
        if self.audits > self.plan.seconds:  # nobody expects that
            parts = [f"{parts[0]}, which `audit: false` leaves out"]
        parts.append(f"{duration_text(page)} {'' if parts else 'of it '}verdicts and page")
        where = f"on {slots.workers} {slots.device} workers"
        return f"about {whole} {where} ({', '.join(parts)})"

    def _networks(self) -> list[tuple[str, str]]:
        """What of them is kept, and the bytes of all of it; what is sampled, and its arithmetic."""
        keep = self.spec.kept()
        if keep is None:
            return []
        rows = []
        each = [size for trial in self.trials if (size := keep.bytes_of(trial))]
        if keep.steps:
            most = f"{bytes_text(sum(each))} at most"
            rows.append(("networks", f"{len(each):,} trials keep up to {len(keep.rules)}, {most}"))
        if keep.sampling is not None:
            rules = len(keep.sampling.rules)
            own = [keep.sampling.operations(t) for t in self.trials if keep.samples(t)]
            told = f"{len(own):,} trials at up to {rules} steps"
            rows.append(("samples", f"{told}, {rules * sum(own):.3g} operations more at most"))
        return rows

    def decides(self) -> list[tuple[str, str]]:
        """What the study will decide, a line a prediction; nothing where trials do not tell, as
        those of a design do not, which asks for seeds until its own half-widths are reached, nor of
        what comes from an audit that there will be none of, or that is of other training."""
        if self.spec.design is not None:
            return []
        found: dict[tuple[str, str], tuple[str, int]] = {}
        made, mine = self._curves, self.spec.own_predictions()
        of_networks = {(c.axis, c.dimension) for c in made if not c.infinite}
        for curve in made:
            if curve.infinite and (curve.axis, curve.dimension) in of_networks:
                continue  # the same questions, on the kernel that stands beside the networks
            where = f", d = {curve.dimension}" if self._dimensions > 1 else ""
            where += ", at infinite width" if curve.infinite else ""
            for one in expected(curve, self.scales, mine):
                known = curve.foretold or not one.prediction.theory_key or not one.prediction.unsaid
                if one.prediction.theory_key in ("", *self.spec.theories) and known:
                    name = one.prediction.name
                    found.setdefault((f"{name}{where}", one.told), (name, curve.dimension))
        # one prediction in every dimension, then the next
        names = list(dict.fromkeys(name for name, _d in found.values()))
        return sorted(found, key=lambda row: names.index(found[row][0]))

    @property
    def basis(self) -> str:
        """What `decides` takes for granted."""
        whose = "its own trials" if self.scales else "pilots"
        laws = {trial.law for trial in self.trials}
        drawn = Counter((family(law.label), law.dimension) for law in laws)
        many = any(name and n >= MINIMUM_DRAWS for (name, _d), n in drawn.items())
        draws = "; those over draws of the law are wider, as draws scatter too" if many else ""
        about = " (without the audit nothing says how they go on at large N)"
        if any(curve.foretold for curve in self._curves):
            about = " (best errors and times about the audit's spectrum)"
        elif self.spec.audit:
            about = " (the audit's spectrum does not say how they go on at large N)"
        return (
            f"if every trial reaches its best step, and curves are power laws{about} and scatter "
            f"as {whose} did{draws}"
        )

    @cached_property
    def _curves(self) -> list[Planned]:
        return planned_curves(self.trials, self.spec.audit)

    @property
    def _dimensions(self) -> int:
        return len({trial.dimension for trial in self.trials})

    def _points(self) -> str:
        """How many, of how many seeds each; those of infinite width apart."""
        points = {trial.point_id: trial for trial in self.trials}.values()
        if self.spec.design:
            return f"{len(points):,}, seeds as the design asks, so far"
        seeds = Counter(trial.point_id for trial in self.trials)
        told = []
        for infinite, where in ((False, ""), (True, " at infinite width")):
            counts = [seeds[p.point_id] for p in points if p.infinite is infinite]
            if counts:
                few, many = min(counts), max(counts)
                each = counted(few, "seed") if few == many else f"{few} to {many} seeds"
                told.append(f"{len(counts):,}{where}, {each} each")
        return ", and ".join(told)


def plan_study(
    spec: StudySpec,
    storage: str | Path | None,
    calibrate: bool | None,
    tell: Callable[[str], None],
) -> StudyPlan:
    """The plan of what is missing, on this machine. calibrate, tell: as of `speeds_of`. Raises
    SpecError where the trials are a search's (`plan_search`), and StoreError."""
    store = store_of(spec, storage)
    if spec.design is None:
        spec.trials()  # says so where there are none to plan
    store.check_owner(spec.name)
    check_kind(spec, store)
    for changed in changed_trainers(spec, store):
        tell(f"note: {changed}")
    ledger = store.ledger()
    trials = trials_of(store, spec, ledger)
    keep = spec.kept()
    missing = [trial for trial in trials if not ledger.done(trial.trial_id, keep)]
    resources = spec.resources
    slots = local_slots(
        spec.device,
        resources.cpus_per_pack,
        resources.gpus_per_pack,
        resources.workers,
        partial(share_of_a_card, missing),
    )
    speeds = speeds_of(slots, calibrate, tell) if missing else DEFAULT_SPEEDS[slots.device]
    packing = packing_for(slots, spec, trials, ledger, speeds)
    scales = scales_of(store) if len(missing) < len(trials) else {}
    audits = 0.0
    if spec.audit and (wanted := missing_audits(store, trials, spec.audit_points)):
        audits = seconds_of_audits(wanted.values(), slots, speeds)
    return StudyPlan(spec, store.place, trials, packing.plan(missing), scales, audits)


def scales_of(store: Store) -> Scales:
    """From the results table as it was last written; nothing where it was not, or is unreadable."""
    try:
        return measured_scales(curves(load_table(f"{store.url.rstrip('/')}/results.parquet")))
    except ResultsError:
        return {}
