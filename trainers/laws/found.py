"""The laws that `trainers.laws.kinds` holds, by their kind."""

from __future__ import annotations

import functools
import importlib
import operator
import pkgutil
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Discriminator, Field, Tag

from trainers.laws import kinds
from trainers.laws.law import LawBase
from trainers.laws.own.law import OwnLaw


def _found() -> dict[str, type[LawBase]]:
    laws: dict[str, type[LawBase]] = {}
    for entry in pkgutil.iter_modules(kinds.__path__):
        module = importlib.import_module(f"{kinds.__name__}.{entry.name}")
        for law in vars(module).values():
            own = isinstance(law, type) and law.__module__ == module.__name__
            if own and issubclass(law, LawBase):
                laws[law.model_fields["kind"].default] = law
    return laws


def any_of(laws: Iterable[type[LawBase]]) -> Any:
    """A field that takes each of the laws, told apart by `kind`."""
    return Annotated[functools.reduce(operator.or_, laws), Field(discriminator="kind")]


def any_or_own(laws: Mapping[str, type[LawBase]]) -> Any:
    """The same, by their kinds, and laws of your own."""
    known = [Annotated[law, Tag(kind)] for kind, law in laws.items()]
    every = [*known, Annotated[OwnLaw, Tag(OWN_KIND)]]
    return Annotated[functools.reduce(operator.or_, every), Discriminator(_kind_of)]


def _kind_of(law: Any) -> str | None:
    kind = law.get("kind") if isinstance(law, Mapping) else getattr(law, "kind", None)
    if kind is None:
        return None
    return OWN_KIND if ":" in str(kind) else str(kind)


OWN_KIND = "module:Class"
"""What stands for the kinds of laws of your own."""

KINDS = _found()
"""kind -> configuration, of every law that can be embedded in a subspace."""

if TYPE_CHECKING:
    InnerLaw = LawBase
else:
    InnerLaw = any_of(KINDS.values())
