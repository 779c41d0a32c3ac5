"""The registry: every theory, and all that they predict. A theory is a file of this folder."""

from __future__ import annotations

from collections.abc import Iterable

from analysis.data.curves.quantity import CLOCKS, SAMPLED, UNTRAINED, Quantity
from analysis.theory.empirical_bayes import EMPIRICAL_BAYES
from analysis.theory.hrx import HRX
from analysis.theory.kernel_space import KERNEL_SPACE
from analysis.theory.linearisation import LINEARISATION
from analysis.theory.memorization import MEMORIZATION
from analysis.theory.no_stopping import NO_STOPPING
from analysis.theory.prediction import Measured, Prediction, Spectral
from analysis.theory.sampling import GIRSANOV
from analysis.theory.source_capacity import SOURCE_CAPACITY

THEORIES = (
    HRX,
    NO_STOPPING,
    LINEARISATION,
    KERNEL_SPACE,
    SOURCE_CAPACITY,
    EMPIRICAL_BAYES,
    MEMORIZATION,
    GIRSANOV,
)
KEYS = tuple(theory.key for theory in THEORIES)


def check_theories(keys: Iterable[str] | None) -> tuple[str, ...]:
    """These keys in the registry's order; all of them for None. Raises ValueError for one that is
    none, or for no key at all."""
    wanted = KEYS if keys is None else tuple(keys)
    unknown = [key for key in wanted if key not in KEYS]
    if unknown:
        raise ValueError(f"no theory is called {unknown[0]!r}: choose among {', '.join(KEYS)}")
    if not wanted:
        raise ValueError(f"theories is empty: choose among {', '.join(KEYS)}")
    return tuple(key for key in KEYS if key in wanted)


def predictions(
    dimension: int,
    capacity: float | None = None,
    source: float | None = None,
    spectral: Spectral | None = None,
    theories: Iterable[str] | None = None,
) -> list[Prediction]:
    """What `theories`, by default all, predict at dimension d; docs/theory.md, section 7, derives
    it.

    The kernel's rows need what was measured of its spectrum, and have exponent NaN without it:
    `spectral`, or in its place capacity and source, b and s of the spectrum and the target's
    coefficients, fitted as powers. Raises ValueError for d < 1 and for a theory that is none.
    """
    if dimension < 1:
        raise ValueError(f"dimension = {dimension} must be at least 1")
    chosen = check_theories(theories)
    measured = Measured(capacity, source, spectral or {})
    said = [theory.predictions(dimension, measured) for theory in THEORIES if theory.key in chosen]
    rows = [row for rows in said for row in rows]
    # stable: of the trained networks first, then what stands beside them
    return sorted(rows, key=lambda row: row.quantity in _BESIDE)


_BESIDE = (Quantity.BEST_ERROR_UNWEIGHTED, *UNTRAINED, *CLOCKS, *SAMPLED)
