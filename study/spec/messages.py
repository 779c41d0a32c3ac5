"""Wrong input, said once and clearly: the key's full path, what is wrong, what would be right.

No library: pydantic's messages speak of its types, not of the spec's keys and their remedies.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from study.terminal import printable
from trainers.errors import UserError
from trainers.laws import LAWS

OR = {"width": ", inf, or a multiple of the samples such as 4N", "copies": ", or fresh"}
"""What a whole number may be instead, by key of an axis."""

MAXIMUM_SHOWN = 12
MAXIMUM_LENGTH = 600
"""Characters of one problem: what was given may be of any length."""


class SpecError(UserError, ValueError):
    """A study that cannot be run as written. `problems` has one message each; `example`: lines of
    YAML below them, what to write."""

    def __init__(self, *problems: str, source: str = "", example: str = "") -> None:
        self.problems = tuple(dict.fromkeys(map(on_one_line, problems)))
        shown = list(self.problems[:MAXIMUM_SHOWN])
        if len(self.problems) > MAXIMUM_SHOWN:
            shown.append(f"and {len(self.problems) - MAXIMUM_SHOWN} more")
        head = f"{on_one_line(source)}: " if source else ""
        below = f"\n{example}" if example else ""
        if len(shown) == 1:
            super().__init__(head + shown[0] + below)
        else:
            lines = [f"{len(self.problems)} problems", *_listed(shown)]
            super().__init__(head + "\n".join(lines) + below)


def on_one_line(text: str) -> str:
    """`text` for a terminal, the middle of a long one left out."""
    plain = printable(text)
    if len(plain) <= MAXIMUM_LENGTH:
        return plain
    return f"{plain[: MAXIMUM_LENGTH - 200]} ... {plain[-195:]}"


def _listed(lines: Sequence[str]) -> list[str]:
    return [f"  - {line}" for line in lines]


def path_of(loc: Sequence[str | int], data: Any = None) -> str:
    """`("sweeps", 1, "width", 0)` as `sweeps[1].width[0]`; an index is left out where `data`
    holds a scalar, since a scalar stands for a list of one; so is a key where it holds no mapping,
    since a list or scalar stands for a mapping's first key."""
    path, here = "", data
    for part in loc:
        if isinstance(part, int):
            if data is not None and not isinstance(here, (list, tuple)):
                continue
            path += f"[{part}]"
            here = here[part] if isinstance(here, (list, tuple)) and part < len(here) else None
        elif data is not None and path and not isinstance(here, Mapping):
            continue
        else:
            path += f".{part}" if path else part
            here = here.get(part) if isinstance(here, Mapping) else None
    return path


def problems_of(
    error: ValidationError,
    data: Any = None,
    *,
    prefix: str = "",
    sections: Mapping[str, Sequence[str]] | None = None,
) -> list[str]:
    """One message for every problem that pydantic found.

    `sections`: the known keys of every section, by its path without indices, for suggestions.
    """
    messages = []
    for item in error.errors(include_url=False):
        path = ".".join(p for p in (prefix, path_of(item["loc"], data)) if p)
        if item["type"] == "extra_forbidden":
            messages.append(_unknown(path, item, sections or {}))
        elif item["type"] == "missing":
            messages.append(f"{path} is missing")
        elif item["type"] == "value_error" and not path:
            messages.append(str(item["ctx"]["error"]))
        else:
            given = _given(item)
            messages.append(f"{path}{f' = {given}:' if given else ''} {_remedy(item)}")
    return messages


def unknown_key(path: str, known: Sequence[str], elsewhere: Mapping[str, str]) -> str:
    """The message for an unknown key. `elsewhere`: key -> full path in another section."""
    key = path.rsplit(".", 1)[-1]
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    message = f"unknown key {path}"
    if key in elsewhere and not near:
        return f"{message}: did you mean {elsewhere[key]}?"
    if near:
        return f"{message}: did you mean {near[0]}?"
    far = difflib.get_close_matches(key, list(elsewhere), n=1, cutoff=0.75)
    if far:
        return f"{message}: did you mean {elsewhere[far[0]]}?"
    return f"{message}: known here are {', '.join(known)}"


def _unknown(path: str, item: ErrorDetails, sections: Mapping[str, Sequence[str]]) -> str:
    section = ".".join(str(p) for p in item["loc"][:-1] if isinstance(p, str))
    elsewhere: dict[str, str] = {}
    for name, keys in sections.items():
        for key in keys:
            elsewhere.setdefault(key, f"{name}.{key}" if name else key)
    known = list(sections.get(section, ()))
    return unknown_key(path, known, {k: p for k, p in elsewhere.items() if k not in known})


def without_empty(data: Any, path: str, problems: list[str]) -> Any:
    """`data` without the keys and items that have no value; each is a problem."""
    if isinstance(data, Mapping):
        kept: dict[Any, Any] = {}
        for key, value in data.items():
            where = f"{path}.{key}" if path else str(key)
            if value is None:
                problems.append(f"{where} is empty: give it a value, or remove the key")
            else:
                kept[key] = without_empty(value, where, problems)
        return kept
    if isinstance(data, list):
        problems += [f"{path}[{i}] is empty: remove it" for i, v in enumerate(data) if v is None]
        return [
            without_empty(value, f"{path}[{i}]", problems)
            for i, value in enumerate(data)
            if value is not None
        ]
    return data


def keys_of(model: type[BaseModel]) -> list[str]:
    """The keys that a section takes."""
    return list(model.model_fields)


def _given(item: ErrorDetails) -> str:
    value = item["input"]
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return _shortened(str(value))
    return _shortened(repr(value)) if isinstance(value, str) else ""


def _shortened(text: str) -> str:
    """`1000000000... (401 characters)` for what is long."""
    return text if len(text) <= 60 else f"{text[:40]}... ({len(text)} characters)"


def _remedy(item: ErrorDetails) -> str:
    kind, context = item["type"], item.get("ctx", {})
    plain = {
        "int_type": "must be a whole number",
        "int_from_float": "must be a whole number",
        "float_type": "must be a number",
        "finite_number": "must be a finite number",
        "bool_type": "must be true or false",
        "string_type": "must be text; put quotes around it",
        "model_type": "must be a mapping of keys to values",
        "dict_type": "must be a mapping of keys to values",
        "too_short": "is an empty list: give it at least one value",
    }
    if kind in plain:
        key = next((part for part in reversed(item["loc"]) if isinstance(part, str)), "")
        axis = plain[kind] == plain["int_type"] and "search" not in item["loc"]
        return plain[kind] + (OR.get(key, "") if axis else "")
    if kind == "greater_than":
        return f"must be above {_number(context['gt'])}"
    if kind == "greater_than_equal":
        return f"must be at least {_number(context['ge'])}"
    if kind == "less_than":
        return f"must be below {_number(context['lt'])}"
    if kind == "less_than_equal":
        return f"must be at most {_number(context['le'])}"
    if kind in ("literal_error", "union_tag_invalid"):
        known = str(context.get("expected") or context.get("expected_tags"))
        return _closest(item, known)
    if kind == "union_tag_not_found":
        return f"lacks its kind: {', '.join(LAWS)}, or your own as module:Class"
    if kind == "string_pattern_mismatch":
        return (
            "must start with a letter or digit and hold only letters, digits, '.', '_' and '-', "
            "100 at most: it names a folder"
        )
    if kind == "value_error":
        return str(context["error"])
    return item["msg"][0].lower() + item["msg"][1:]


def _number(bound: float) -> str:
    """A bound in full, `2,097,152`, where it is a whole number that is easily read."""
    return f"{bound:,}" if isinstance(bound, int) and bound < 10**10 else f"{bound:g}"


def _closest(item: ErrorDetails, known: str) -> str:
    names = [name.strip(" '") for name in known.replace(" or ", ",").split(",")]
    value = item["input"]
    tag = item.get("ctx", {}).get("tag", value)
    near = difflib.get_close_matches(str(tag), names, n=1) if isinstance(tag, str) else []
    listed = ", ".join(names)
    got = f"has kind = {tag!r}: " if "tag" in item.get("ctx", {}) else ""
    return f"{got}must be one of {listed}" + (f" (did you mean {near[0]}?)" if near else "")
