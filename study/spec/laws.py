"""The `law` of a spec: one law or a list, parameters that are lists multiplied out, CSV resolved.

law: {kind: gaussian_mixture, dimension: 2, std: [0.05, 0.1]}     # two laws
law: {kind: atoms, file: points.csv}                              # the rows of a CSV file
law: {kind: atoms, dimension: 2, seed: 5, draws: 8}               # eight laws, seeds 5 to 12
law: {kind: table, file: t.csv, target: y, drop: [ID]}            # one law: `drop` is a list itself
law: {kind: "mine:Law", dimension: 2, radius: [1, 2]}             # two of your own, of mine.py
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from study.spec.axes import MAXIMUM_LAWS
from study.spec.messages import problems_of, unknown_key
from trainers.errors import LawError
from trainers.laws import LAWS, DataFile, OwnLaw, own_class, resolve_files
from trainers.laws.own.law import FILLED_IN, wrong_parameters
from trainers.own_files import OWN, make_importable
from trainers.ranges import MAXIMUM_SEED
from trainers.trial import Cube, Law

_LAW: TypeAdapter[Any] = TypeAdapter(Law)
_OWN_LAW: TypeAdapter[Any] = TypeAdapter(OwnLaw)
_RESOLVED = "sha256"
"""Filled in from the file, never written by hand."""


def read_laws(
    data: Mapping[str, Any], folder: Path, problems: list[str], held: dict[str, DataFile]
) -> tuple[Any, ...]:
    """The laws that `data["law"]` states; what is wrong with them is added to `problems`, and the
    data files that they name, by their SHA-256, to `held`.

    Where a law has no dimension, `base.dimension` stands in (the axis overrides it anyway).
    """
    if "law" not in data:
        problems.append("law is missing: for example {kind: gaussian_mixture, dimension: 2}")
        return (Cube(dimension=1),)
    given = data["law"]
    several = isinstance(given, list)
    laws: list[Any] = []
    for index, entry in enumerate(given if several else [given]):
        path = f"law[{index}]" if several else "law"
        if not isinstance(entry, Mapping):
            problems.append(f"{path} must be a mapping such as {{kind: cube, dimension: 2}}")
            continue
        entry = _with_draws(entry, path, problems)
        if (count := _count(entry)) > MAXIMUM_LAWS:
            problems.append(f"{path} makes {count:,} laws, more than {MAXIMUM_LAWS:,}: shorten it")
            continue
        for law in _expanded(entry):
            read = _read_law(law, path, data, folder, problems, held)
            laws += [read] if read is not None else []
    if not laws and several and not given:
        problems.append("law is an empty list: give it at least one law")
    return tuple(laws) or (Cube(dimension=1),)


def _with_draws(law: Mapping[str, Any], path: str, problems: list[str]) -> Mapping[str, Any]:
    """`law` with `draws: n` written out as a list of n seeds, from its own on."""
    if "draws" not in law:
        return law
    rest = {key: value for key, value in law.items() if key != "draws"}
    count, seed = law["draws"], law.get("seed", 0)
    if not _is_own(law) and ("seed" not in _known_keys(law) or "file" in law):
        problems.append(
            f"{path}.draws: {law.get('kind')} has no seed that it could be drawn from again: "
            f"remove {path}.draws"
        )
    elif type(count) is not int or not 1 <= count <= MAXIMUM_LAWS:
        problems.append(
            f"{path}.draws must be a whole number from 1 to {MAXIMUM_LAWS:,}, not {count!r:.40}"
        )
    elif type(seed) is not int:
        problems.append(
            f"{path}.draws counts seeds up from one {path}.seed: give one seed, or remove draws"
        )
    else:
        rest["seed"] = list(range(seed, seed + count))
    return rest


def draws_of(law: Any, count: int) -> Iterator[Any]:
    """`law`, and count - 1 more draws of it, of the next seeds, made as they are asked for. Raises
    LawError, at once, where it has no seed to be drawn again from, or where no seeds follow."""
    if count == 1:
        return iter([law])
    if type(getattr(law, "seed", None)) is not int or getattr(law, "sha256", None) is not None:
        raise LawError(
            f"draws: {law.label} has no seed that it could be drawn from again: remove draws, or "
            "make it a study of its own"
        )
    if law.seed + count > MAXIMUM_SEED:
        raise LawError(f"draws: the seeds from {law.seed:,} on end before {count:,} draws")
    return (law.model_copy(update={"seed": law.seed + i}) for i in range(count))


def _count(law: Mapping[str, Any]) -> int:
    """How many laws `_expanded` makes."""
    return math.prod(
        _count(value) if isinstance(value, Mapping) else max(len(value), 1)
        for key, value in law.items()
        if isinstance(value, (Mapping, list)) and key not in _lists(law)
    )


def _expanded(law: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The factorial over the parameters that are lists, in the order in which they stand."""
    choices = []
    for key, value in law.items():
        if key in _lists(law):
            choices.append([value])
        elif isinstance(value, Mapping):
            choices.append(list(_expanded(value)))
        else:
            choices.append(value if isinstance(value, list) and value else [value])
    for values in itertools.product(*choices):
        yield dict(zip(law, values, strict=True))


def _read_law(
    law: dict[str, Any],
    path: str,
    data: Mapping[str, Any],
    folder: Path,
    problems: list[str],
    held: dict[str, DataFile],
) -> Any:
    if _is_own(law):
        return _read_own(law, path, data, folder, problems)
    known = _known_keys(law)
    wrong = [key for key in law if known and key not in known]
    if wrong:
        problems += [unknown_key(f"{path}.{key}", known, {}) for key in wrong]
        return None
    try:
        law = resolve_files(law, folder, held)
    except LawError as error:
        problems.append(str(error).replace("law.", f"{path}.", 1))
        return None
    return _validated(_LAW, law, path, data, problems)


def _read_own(
    law: dict[str, Any], path: str, data: Mapping[str, Any], folder: Path, problems: list[str]
) -> Any:
    """A law of the user's own, found as trainers of their own are. Its file is read, not run."""
    kind = law["kind"]
    if not OWN.match(kind):
        problems.append(
            f"{path}.kind = {kind!r:.60}: a law of your own is module:Class, the names of its file "
            "without .py and of the class in it"
        )
        return None
    own = {key: value for key, value in law.items() if key not in ("kind", "dimension")}
    wrong = [f"{path}.{problem}" for problem in wrong_parameters(own)]
    wrong += [f"{path}.{key} is read off the file: remove it" for key in FILLED_IN if key in own]
    if wrong:
        problems += wrong
        return None
    make_importable(folder.absolute())
    try:
        found = {"source_sha256": own_class(kind).sha256()}
    except LawError as error:
        problems.append(str(error).replace("law.", f"{path}.", 1))
        return None
    return _validated(_OWN_LAW, {**law, **found}, path, data, problems)


def _validated(
    model: TypeAdapter[Any],
    law: dict[str, Any],
    path: str,
    data: Mapping[str, Any],
    problems: list[str],
) -> Any:
    base = data.get("base")
    axis = base.get("dimension") if isinstance(base, Mapping) else None
    if "dimension" not in law and axis:
        law["dimension"] = axis[0] if isinstance(axis, list) else axis
    try:
        return model.validate_python(law, strict=True)
    except ValidationError as error:
        for item in problems_of(error, prefix=path):
            item = item.replace(f"{path}.{law.get('kind')}", path, 1)
            if item == f"{path}.dimension is missing":
                item += f": give {path}.dimension, or base.dimension"
            problems.append(item)
        return None


def _is_own(law: Mapping[str, Any]) -> bool:
    kind = law.get("kind")
    return isinstance(kind, str) and ":" in kind


def _lists(law: Mapping[str, Any]) -> frozenset[str]:
    kind = law.get("kind")
    model = LAWS.get(kind) if isinstance(kind, str) else None
    return model.lists if model else frozenset()


def _known_keys(law: Mapping[str, Any]) -> list[str]:
    kind = law.get("kind")
    model = LAWS.get(kind) if isinstance(kind, str) else None
    return [key for key in model.model_fields if key != _RESOLVED] if model else []
