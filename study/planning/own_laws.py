"""Laws of your own, checked before anything trains: their code runs here, in the driver."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import cache

from study.spec.messages import SpecError
from trainers.errors import LawError
from trainers.laws import OwnLaw
from trainers.laws.own_check import check_own_law
from trainers.problem import diffusion as forward
from trainers.trial import Diffusion, TrialConfig


def check_own_laws(trials: Iterable[TrialConfig]) -> None:
    """Compares every law of your own among the trials with its own draws, at four times of each
    diffusion, once a process. Raises SpecError with what is wrong with each."""
    pairs = {(t.law_id, t.diffusion): t for t in trials if isinstance(t.law, OwnLaw)}
    problems = (_problem(trial.law, trial.diffusion) for trial in pairs.values())
    wrong = [problem for problem in problems if problem]
    if wrong:
        raise SpecError(*wrong)


@cache
def _problem(law: OwnLaw, diffusion: Diffusion) -> str:
    try:
        check_own_law(law, _times(diffusion))
    except LawError as error:
        return str(error)
    return ""


def _times(diffusion: Diffusion) -> Iterator[tuple[float, float, float]]:
    """t, alpha and h: from the least time of an audit to T."""
    first, last = diffusion.t_min, diffusion.t_max
    for t in (first / 10, first, math.sqrt(first * last), last):
        yield t, float(forward.alpha(diffusion, t)), float(forward.h(diffusion, t))
