"""What the files beside a study held, so that its results can be read where the files are not."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from trainers.trial import Law


class Contents(BaseModel):
    """The laws of a study that has CSV files or laws of its own, complete, and the hashes of the
    files of its own trainers: a trial is known by these, and not by where a file is."""

    laws: tuple[Law, ...] = ()
    trainers: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = {}

    @classmethod
    def read(cls, data: Any) -> Contents:
        """From what `model_dump(mode="json")` gave; nothing is known where it is none of that."""
        try:
            return cls.model_validate(data)
        except ValidationError:
            return cls()
