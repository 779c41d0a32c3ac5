"""Verdicts over draws of the law.

A law's centres, atoms or subspace are drawn once, from its seed. A verdict on that one draw says
nothing of the next: over draws of `atoms` the exponent in N varies by more than its seeds explain
(docs/theory.md, section 10). Laws that differ in the seed alone are therefore pooled, and the draw
is what varies: the value of a draw at a level is its level mean, sharpened by the kernel limit
where there is one, and the levels of one draw are linked, as those of one seed are. The geometric
mean over draws then has the mean of their exponents, its interval comes from how these scatter
(k draws, k - 1 degrees of freedom), and all that is asked of a curve is asked of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from analysis.data.curves.quantities import Curve
from analysis.data.sweeps import MINIMUM_DRAWS, families
from analysis.fits.power_law import PowerLawFit
from analysis.levels.intervals import Array
from analysis.verdicts.judging import Draw

FitOf = Callable[[Curve], PowerLawFit]


def pooled(curves: Sequence[Curve], fit_of: FitOf) -> list[Curve]:
    """One curve for each quantity, axis and setting that MINIMUM_DRAWS draws of a law or more have;
    `draws` holds theirs. fit_of: the fit of a curve's usable part, for its level means."""
    made = (_pooled(name, own, fit_of) for name, own in _same_but_the_draw(curves))
    return [curve for curve in made if curve is not None]


def rates(curve: Curve, fit_of: FitOf) -> tuple[Draw, ...]:
    """The rate of each draw of a pooled curve; nothing for another curve."""
    fits = [(draw, fit_of(draw)) for draw in curve.draws]
    return tuple(Draw(c.law, c.law_id, fit.exponent, *fit.ci) for c, fit in fits)


def _same_but_the_draw(curves: Sequence[Curve]) -> Iterator[tuple[str, list[Curve]]]:
    """The name of a law without the seed that was drawn, and the curves of its draws."""
    groups: dict[tuple[str, str, str, int, str], dict[str, Curve]] = {}
    named = _families(curves)
    for curve in curves:
        name = named.get((curve.law, curve.dimension))
        if name is None:
            continue
        held = {k: v for k, v in curve.fixed.items() if k != "audit_id"}
        how = repr((curve.sampled, sorted(held.items())))
        key = (curve.quantity, curve.axis, name, curve.dimension, how)
        groups.setdefault(key, {}).setdefault(curve.law_id, curve)
    for (*_, name, _d, _how), own in groups.items():
        if len(own) >= MINIMUM_DRAWS:
            yield name, list(own.values())


def _families(curves: Sequence[Curve]) -> dict[tuple[str, int], str]:
    """The family of each law that was drawn, by its label and dimension."""
    laws: dict[int, set[str]] = {}
    for curve in curves:
        laws.setdefault(curve.dimension, set()).add(curve.law)
    return {(law, d): name for d, own in laws.items() for law, name in families(own).items()}


def _pooled(name: str, draws: Sequence[Curve], fit_of: FitOf) -> Curve | None:
    """The curve over the draws that have level means, at the levels that all of them have; None
    where fewer than MINIMUM_DRAWS have any. Draws that have none are left out, and kept with it."""
    own = [(curve, *means) for curve in draws if (means := _level_means(fit_of(curve)))]
    if len(own) < MINIMUM_DRAWS:
        return None
    x = own[0][1]
    for _curve, levels, _y in own[1:]:
        x = np.intersect1d(x, levels)
    if not len(x):
        return None
    y = np.stack([values[np.isin(levels, x)] for _curve, levels, values in own])
    first, count = own[0][0], len(own)
    tried = [{*c.x.tolist(), *c.diverged, *c.failed, *c.missing} for c in draws]
    return replace(
        first,
        law=f"{name}, {count} draws",
        law_id=f"{name}, {count} draws",
        x=np.tile(x, count),
        y=y.ravel(),
        seed=np.repeat(np.arange(count), len(x)),
        censored=np.zeros(y.size, dtype=bool),
        linked=True,
        without=None,
        control=None,
        effective_points=min(curve.effective_points for curve, *_ in own),
        effective_time=_common([curve.effective_time for curve, *_ in own]),
        diverged=(),
        failed=(),
        missing=tuple(sorted(set.intersection(*tried) - set(x.tolist()))),
        short=tuple(sorted({level for curve, *_ in own for level in curve.short})),
        draws=tuple(curve for curve, *_ in own),
        left_out=tuple(curve for curve in draws if all(curve is not one for one, *_ in own)),
    )


def _level_means(fit: PowerLawFit) -> tuple[Array, Array] | None:
    """x, and the level means there."""
    if fit.means is None:
        return None
    return fit.means.x, np.exp(fit.means.log_mean)


def _common(times: Sequence[float | None]) -> float | None:
    """Their geometric mean: draws are read at times of their own."""
    known = [time for time in times if time is not None]
    return float(np.exp(np.mean(np.log(known)))) if known else None
