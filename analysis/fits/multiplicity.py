"""Many verdicts together: intervals adjusted for having looked at all of them.

A verdict other than `undetermined` is a selection: of K intervals those are reported that exclude
something, and such intervals miss more often than their level says. Benjamini and Yekutieli, False
Discovery Rate-Adjusted Multiple Confidence Intervals for Selected Parameters, JASA 100 (2005) 71:
where R of K are selected, intervals at level 1 - R q/K keep the false coverage rate, the expected
share of selected intervals that miss their parameter (0 where none is selected), at most q. It
holds for independent estimates and for any selection in which one estimate's being selected does
not hang on the others; with R found as below, this is the step-up rule of Benjamini and Hochberg,
and then no adjusted interval contradicts its verdict. Estimates that share trials are dependent:
the rate is then not proved but simulated (tests); the price of a proof for any dependence is
q / (1 + 1/2 + ... + 1/K) for q.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


def adjusted_level(decided: Sequence[Callable[[float], bool]], level: float = 0.95) -> float:
    """The level 1 - R (1 - level)/K, R the largest number such that R of the K verdicts are
    decided by intervals at that level; with R = 0 that of R = 1 (Bonferroni's).

    decided: for each verdict, whether an interval at a given level decides it. A verdict decided at
    one level must be at all lower ones (shorter intervals).
    """
    count = len(decided)
    selected = count
    while selected:
        # fewer are decided by longer intervals, so this never passes the largest fixed point
        still = sum(one(1 - selected * (1 - level) / count) for one in decided)
        if still >= selected:
            break
        selected = still
    return 1 - max(selected, 1) * (1 - level) / max(count, 1)
