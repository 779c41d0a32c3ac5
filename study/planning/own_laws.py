"""Laws of your own, checked before anything trains: their code runs here, in the driver."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache

from analysis.data.sweeps import family
from study.spec.messages import SpecError
from trainers.errors import LawError
from trainers.laws import OwnLaw
from trainers.laws.own.check import check_own_law
from trainers.laws.own.law import DRAWN
from trainers.problem import diffusion as forward
from trainers.trial import Diffusion, TrialConfig

DRAWS_COMPARED = 8
"""Of a law that `seed` draws anew."""


def check_own_laws(trials: Iterable[TrialConfig]) -> None:
    """Compares the laws of your own among the trials with their own draws, at eight times of each
    diffusion, once a process; of many that differ in `seed` alone the first few. Raises SpecError
    with what is wrong with each."""
    pairs = {(t.law_id, t.diffusion): t for t in trials if isinstance(t.law, OwnLaw)}
    seen, wrong = Counter[str](), []
    for trial in pairs.values():
        bare = f"{family(trial.law.label) or trial.law.label} {trial.dimension} {trial.diffusion}"
        seen[bare] += 1
        problem = _problem(trial.law, trial.diffusion, seen[bare] <= DRAWS_COMPARED)
        wrong += [problem] if problem else []
    if wrong:
        raise SpecError(*wrong)


def own_law_notes(trials: Iterable[TrialConfig]) -> list[str]:
    """A line for each law of your own that stands for the class in its file by draws of it."""
    laws = {t.law.kind: t.law for t in trials if isinstance(t.law, OwnLaw)}
    return [
        f"{kind} has no posterior_mean: the law is uniform on {DRAWN:,} draws of it, for which f* "
        "is exact"
        for kind, law in laws.items()
        if law.drawn
    ]


@cache
def _problem(law: OwnLaw, diffusion: Diffusion, compared: bool) -> str:
    try:
        check_own_law(law, _times(diffusion) if compared else ())
    except LawError as error:
        return str(error)
    return ""


def _times(diffusion: Diffusion) -> Iterator[tuple[float, float, float]]:
    """t, alpha and h: from the least time of an audit to T, near each other both in t and in log t,
    as a formula may be wrong between two of them."""
    first, last = diffusion.t_min, diffusion.t_max
    spread = [first ** (1 - k / 4) * last ** (k / 4) for k in range(4)]
    even = [first + (last - first) * k / 4 for k in (2, 3, 4)]
    for t in sorted([first / 10, *spread, *even]):
        yield t, float(forward.alpha(diffusion, t)), float(forward.h(diffusion, t))
