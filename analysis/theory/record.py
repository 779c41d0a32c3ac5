"""What the registry said before the first trial of a study trained, and whether it says so still.

A prediction that was edited after its data is none. So a study keeps a record of the registry,
written once, before it trains; `compared` says what a reader has to know of it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from analysis.theory.registry import check_theories, predictions

DIMENSIONS = range(1, 17)
"""At which exponents are recorded."""

CAPACITY, SOURCE = 1.5, 0.4
"""With which the formulas of the kernel's rows are."""

_SHOWN = 12  # digits of a hash, on a page


def record(theories: Iterable[str] | None = None) -> dict[str, Any]:
    """The registry as JSON data, and its hash; theories: those that the study is to judge.

    predictions: by name, of all theories: quantity, axis, kind, margin, assumptions, theory, and
    exponents and thresholds at d = 1 to 16. Raises ValueError for a theory that is none.
    """
    said: dict[str, dict[str, Any]] = {}
    for d in DIMENSIONS:
        for row in predictions(d, CAPACITY, SOURCE):
            one = said.setdefault(
                row.name,
                {
                    "theory": row.theory_key,
                    "quantity": str(row.quantity),
                    "axis": row.axis,
                    "kind": str(row.kind),
                    "margin": row.margin,
                    "needs": sorted(row.needs),
                    "growth": row.growth.form if row.growth else "",
                    "assumptions": sorted(map(str, row.assumptions)),
                    "exponents": [],
                    "thresholds": [],
                },
            )
            one["exponents"].append(_number(row.exponent))
            one["thresholds"].append(_number(row.threshold))
    return {"sha256": _hash(said), "theories": list(check_theories(theories)), "predictions": said}


def compared(stored: object, theories: Iterable[str] | None = None) -> str:
    """Whether today's registry is the one of `stored`, a `record` or None, in words."""
    if stored is None:
        return "not recorded: nothing beside these results says what theory said before them"
    if not _is_record(stored):
        return "not known: the record of the registry beside the results is damaged"
    assert isinstance(stored, Mapping)
    now = record(theories)
    when = f", {stored['written']}" if stored.get("written") else ""
    told = f"fixed before the first trial trained (sha256 {stored['sha256'][:_SHOWN]}{when})"
    if stored["sha256"] != now["sha256"]:
        told = (
            f"edited after the first trial trained: sha256 was {stored['sha256'][:_SHOWN]}{when}, "
            f"is {now['sha256'][:_SHOWN]}; "
            f"{'; '.join(_edits(stored['predictions'], now['predictions']))}"
        )
    if stored["theories"] != now["theories"]:
        told += (
            f"; the theories to judge were {', '.join(stored['theories'])}, "
            f"and are {', '.join(now['theories'])}"
        )
    return told


def _edits(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs, prediction by prediction, as `was ..., is ...`."""
    told = []
    for name in (name for name in was if name in now):
        changes = [key for key in now[name] if was[name].get(key) != now[name][key]]
        told += [f"{name}: {_change(key, was[name].get(key), now[name][key])}" for key in changes]
    told += [f"{name}: is new" for name in now if name not in was]
    return told + [f"{name}: was there, is gone" for name in was if name not in now]


def _change(key: str, was: Any, now: Any) -> str:
    """Of a list by dimension, at the first d where it differs."""
    if key in ("exponents", "thresholds") and isinstance(was, list) and len(was) == len(now):
        d, old, new = next(
            (d, old, new) for d, old, new in zip(DIMENSIONS, was, now, strict=True) if old != new
        )
        return f"{key.removesuffix('s')} at d = {d} was {_told(old)}, is {_told(new)}"
    return f"{key} was {_told(was)}, is {_told(now)}"


def _told(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "empty"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _number(value: float) -> float | None:
    """To 12 digits, which are the same on every machine; None for NaN."""
    return float(f"{value:.12g}") if math.isfinite(value) else None


def _hash(said: Mapping[str, Any]) -> str:
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _is_record(stored: object) -> bool:
    """Whether it has the parts of a record, and the hash of its predictions."""
    if not isinstance(stored, Mapping):
        return False
    said, theories = stored.get("predictions"), stored.get("theories")
    whole = isinstance(said, Mapping) and all(isinstance(one, Mapping) for one in said.values())
    named = isinstance(theories, list) and all(isinstance(key, str) for key in theories)
    return whole and named and stored.get("sha256") == _hash(said or {})
