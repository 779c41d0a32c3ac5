"""The laws that `trainers.laws.kinds` holds, by their kind."""

from __future__ import annotations

import functools
import importlib
import operator
import pkgutil
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from trainers.laws import kinds
from trainers.laws.law import LawBase


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


KINDS = _found()
"""kind -> configuration, of every law that can be embedded in a subspace."""

if TYPE_CHECKING:
    InnerLaw = LawBase
else:
    InnerLaw = any_of(KINDS.values())
