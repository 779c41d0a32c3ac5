"""Packs for a study on GPUs and, beside them, on the cores of nodes without one.

Trials are divided first, then each part is planned for its own kind of slots. What goes to the
slots beside is what they are least slow at (small trials, whose time is mostly not arithmetic), and
as much of it as makes the study end soonest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from study.planning.cost import Speeds, has_kernel, seconds_of
from study.planning.memory import memory_of
from study.planning.plan import Plan, families, make_plan
from trainers.kept.keep import Keep
from trainers.trial import TrialConfig, grouped

SHARES = (1.0, 0.6, 0.3)
"""Tried of what would keep both kinds busy for the same time if a batch cost nothing beside its
trials: what it does cost makes less of it better."""


def make_mixed_plan(
    trials: Sequence[TrialConfig],
    plan: Plan,
    others: Speeds,
    memory: float | None = None,
    keep: Keep | None = None,
) -> Plan:
    """`plan` (of `trials`, on the first kind of its slots alone), or a faster one that uses the
    slots beside too, whose workers run at `others`. memory, keep: as of `make_plan`.
    Deterministic."""
    order = _moved(trials, plan, others)
    plans = [
        _divided(trials, set(order[: math.ceil(share * len(order))]), plan, others, memory, keep)
        for share in SHARES
    ]
    return min([plan, *plans], key=lambda found: found.training_seconds)


def _divided(
    trials: Sequence[TrialConfig],
    moved: set[str],
    plan: Plan,
    others: Speeds,
    memory: float | None,
    keep: Keep | None,
) -> Plan:
    """The plan that trains the trials of `moved` beside, and all others as `plan` does."""
    slots, beside = plan.slots, plan.slots.beside
    taken = [trial for trial in trials if trial.trial_id in moved]
    left = [trial for trial in trials if trial.trial_id not in moved]
    if beside is None or not taken:
        return plan
    packs = list(make_plan(left, slots, plan.speeds, memory, keep).packs)
    packs += make_plan(taken, beside, others, memory, keep).packs
    packs.sort(key=lambda pack: (-pack.cost, pack.pack_id))
    return Plan(tuple(packs), slots, plan.speeds)


def _moved(trials: Sequence[TrialConfig], plan: Plan, others: Speeds) -> list[str]:
    """Trials to move, in order of their ratio of times: up to where they would take longer than
    what is left. Whole data sets, which share a kernel reference; those of a search, which all have
    one data set and no reference, one by one."""
    slots, beside = plan.slots, plan.slots.beside
    if beside is None:
        return []
    sets: list[tuple[float, float, list[TrialConfig]]] = []
    for family in families(trials):
        if max(memory_of([trial]) for trial in family) > beside.memory:
            slow = math.inf
        else:
            slow = seconds_of(family, others)
        fast = seconds_of(family, plan.speeds)
        members = grouped(family, lambda t: t.seed)
        if len(members) == 1 and not any(map(has_kernel, family)):
            members = [[trial] for trial in family]
        sets += [(fast / len(members), slow / len(members), member) for member in members]
    left, taken, moved = sum(fast for fast, _, _ in sets), 0.0, list[str]()
    for fast, slow, member in sorted(sets, key=lambda one: one[1] / one[0]):
        left, taken = left - fast, taken + slow
        if taken / beside.workers > left / slots.workers:
            break
        moved += [trial.trial_id for trial in member]
    return moved
