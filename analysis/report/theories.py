"""Theories side by side: what each predicts, against what was measured under each law."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.data.sweeps import PLAIN
from analysis.figures.rates.answer import Group
from analysis.report.wording import QUANTITIES, badge, where
from analysis.theory import THEORIES
from analysis.verdicts.assumed import Holds
from analysis.verdicts.evaluation import Evaluation
from analysis.verdicts.judging import Verdict, Word

OWN = "Of your own"


def matrix(evaluation: Evaluation, names: Mapping[str, str]) -> dict[str, Any] | None:
    """The table theory x measurement as cells: a row a prediction, a column a law and dimension;
    None where there is no verdict. names: as of `law_names`."""
    asked = list(evaluation.verdicts)
    not_asked = list(evaluation.unasked)
    if not asked:
        return None

    def group(verdict: Verdict) -> Group:
        return names.get(verdict.law_id, verdict.law), verdict.dimension

    groups = sorted({group(v) for v in (*asked, *not_asked)})
    theories, unseen = [], []
    known = {theory.key: theory for theory in THEORIES}
    for key in (*evaluation.theories, ""):
        mine = [v for v in asked if v.theory_key == key]
        others = [v for v in not_asked if v.theory_key == key]
        if not (mine or others):
            unseen += [known[key].name] if key else []
            continue
        questions = dict.fromkeys((v.prediction, v.quantity, v.axis) for v in (*mine, *others))
        rows = [
            {
                "question": _question(quantity, axis),
                "cells": [
                    _cell(
                        [v for v in mine if (v.prediction, group(v)) == (name, one)],
                        [v for v in others if (v.prediction, group(v)) == (name, one)],
                    )
                    for one in groups
                ],
            }
            for name, quantity, axis in questions
        ]
        title = f"{known[key].name} ({known[key].year})" if key else OWN
        theories.append({"name": title, "key": key, "rows": rows})
    return {"columns": _columns(groups), "theories": theories, "unseen": unseen}


def _question(quantity: str, axis: str) -> str:
    name = QUANTITIES.get(quantity, quantity.replace("_", " "))
    return f"{name} against {PLAIN.get(axis, axis)}"


def _columns(groups: Sequence[Group]) -> list[str]:
    """`d = 2` where there is one law, `cube, d = 2` where there are more."""
    several = len({law for law, _d in groups}) > 1
    return [f"{law}, d = {d}" if several else f"d = {d}" for law, d in groups]


def _cell(verdicts: Sequence[Verdict], not_asked: Sequence[Verdict]) -> dict[str, Any]:
    """The words of its verdicts, how often each and, where they differ, on which curves; whether
    the assumptions held."""
    if not verdicts:
        return {"words": [], "note": "not asked" if not_asked else "", "assumed": ""}
    words = []
    for word in Word:
        own = [v for v in verdicts if v.verdict is word]
        if own:
            told = f"{word} × {len(own)}" if len(own) > 1 else str(word)
            apart = "; ".join(filter(None, dict.fromkeys(where(v, verdicts) for v in own)))
            words.append((badge(own[0]), told, apart if len(own) < len(verdicts) else ""))
    return {"words": words, "note": "", "assumed": held(verdicts)}


def held(verdicts: Sequence[Verdict]) -> str:
    """Of the assumptions of these verdicts, each as on the curve where it is worst: `holds: 3 of
    5; violated: bounded support; not measured: noisy labels`."""
    found: dict[str, set[Holds]] = {}
    for verdict in verdicts:
        for one in verdict.assumptions:
            found.setdefault(one.name, set()).add(one.holds)
    worst = {
        name: next(h for h in (Holds.NO, Holds.UNKNOWN, Holds.YES) if h in seen)
        for name, seen in found.items()
    }
    if not worst:
        return ""
    hold, broken, unknown = (
        [name for name, holds in worst.items() if holds is one]
        for one in (Holds.YES, Holds.NO, Holds.UNKNOWN)
    )
    parts = [f"holds: {len(hold)} of {len(worst)}"]
    parts += [f"violated: {', '.join(broken)}"] if broken else []
    parts += [f"not measured: {', '.join(unknown)}"] if unknown else []
    return "; ".join(parts)
