"""Stopping rules: each maps one recorded trajectory to a step (docs/theory.md, section 6).

| symbol   | name              | meaning                                             | unit |
|----------|-------------------|-----------------------------------------------------|------|
| tau      | steps             | recorded steps, rising                              | steps|
| eta tau  | effective_time    |                                                     | 1    |
| sigma^2  | noise_variance    | E||X_0 - f*||^2 / d: per coordinate                 | x^2  |
| L        | train_loss        | 1/(2N) sum_j ||f(z_j) - X_{0,j}||^2: half, all d    | x^2  |
| R(tau)   | kernel_complexity | [1/N sum_i min(l_i/N, 1/(eta tau))]^(1/2)           | 1    |

All but `oracle` use no truth. A rule answers with a recorded step: its resolution is that of the
recording. A rule that cannot answer says why, and never raises for what a trial did. To add a
rule, write a function of a `Recorded` and enter it in RULES. numpy only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Recorded:
    """One trial's trajectory as the rules see it. Columns [R]; NaN after divergence, None where
    not measured. a_priori_constant: c, calibrated elsewhere (see `a_priori_constant`)."""

    steps: NDArray[np.int64]
    step_size: float
    samples: int
    dimension: int
    score_error: Array | None = None
    holdout_loss: Array | None = None
    train_loss: Array | None = None
    kernel_complexity: Array | None = None
    noise_variance: float | None = None
    a_priori_constant: float | None = None

    @property
    def effective_time(self) -> Array:
        """eta tau [R]."""
        return np.asarray(self.step_size * np.asarray(self.steps, dtype=np.float64))


@dataclass(frozen=True)
class Stop:
    """Where a rule stops: the step, eta tau, and its index in the recorded steps; None where the
    rule did not fire, and `message` says why. censored: it fired at the last usable step, so the
    true answer may lie beyond."""

    rule: str
    step: int | None
    effective_time: float | None
    index: int | None
    fired: bool
    censored: bool = False
    message: str = ""


def stop(rule: str, recorded: Recorded) -> Stop:
    """Applies the rule of that name. Raises ValueError for a name that is not in RULES."""
    if rule not in RULES:
        raise ValueError(f"stopping: {rule!r} is no rule; use one of {', '.join(RULES)}")
    return RULES[rule](recorded)


def regret(stopped: Stop, score_error: ArrayLike) -> float:
    """score_error where the rule stopped over the smallest one, less 1; NaN where it did not fire
    or the error there is unknown."""
    errors = np.asarray(score_error, dtype=np.float64)
    if stopped.index is None or not np.isfinite(errors).any():
        return float("nan")
    return float(errors[stopped.index] / np.nanmin(errors) - 1)


# --- the rules ------------------------------------------------------------------------------------


def oracle(recorded: Recorded) -> Stop:
    """argmin of the true score error: the yardstick, which no practitioner has."""
    return _argmin("oracle", recorded, recorded.score_error, "score_error")


def holdout(recorded: Recorded) -> Stop:
    """argmin of the denoising loss on pairs that training never saw."""
    return _argmin("holdout", recorded, recorded.holdout_loss, "holdout_loss")


def discrepancy(recorded: Recorded) -> Stop:
    """The first tau with mean squared residual <= sigma^2: the minimum discrepancy principle
    (Blanchard, Hoffmann and Reiss 2018). Per coordinate, the mean squared residual is 2 L / d."""
    name, loss, sigma2 = "discrepancy", recorded.train_loss, recorded.noise_variance
    if loss is None or sigma2 is None:
        return _silent(name, "needs train_loss and noise_variance, which were not measured")
    residual = 2 * np.asarray(loss, dtype=np.float64) / recorded.dimension
    below = residual <= sigma2  # NaN is not below
    if not below.any():
        least = _least(residual)
        return _silent(
            name, f"the mean squared residual ends at {least:.4g}, above sigma^2 = {sigma2:.4g}"
        )
    return _at(name, recorded, int(np.argmax(below)))


def rademacher(recorded: Recorded) -> Stop:
    """The last tau with R(tau) <= 1 / (2 e sigma eta tau), up to the first that fails; for each
    output coordinate the same (Raskutti, Wainwright and Yu 2014, JMLR 15)."""
    name, sigma2 = "rademacher", recorded.noise_variance
    if recorded.kernel_complexity is None or sigma2 is None:
        return _silent(name, "needs kernel_complexity and noise_variance: set kernel: true")
    complexity = np.asarray(recorded.kernel_complexity, dtype=np.float64)
    time = recorded.effective_time
    # Multiplied out, so that tau = 0 and sigma = 0 need no care; NaN is not beyond.
    beyond = complexity * 2 * np.e * np.sqrt(max(sigma2, 0.0)) * time > 1
    if not beyond.any():
        last = time[np.isfinite(complexity)].max(initial=0.0)
        return _silent(name, f"the critical radius is not reached by eta tau = {last:.4g}")
    first = int(np.argmax(beyond))
    if first == 0:
        return _silent(name, "the critical radius is passed before the first recorded step")
    if not np.isfinite(complexity[:first]).all():
        return _silent(name, "kernel_complexity is unknown before the critical radius is passed")
    return _at(name, recorded, first - 1)


def a_priori(recorded: Recorded) -> Stop:
    """eta tau = c N^((d+2)/(d+3)), which balances bias and variance for Lipschitz targets
    (docs/theory.md, 7.2), at the recorded step nearest in log eta tau; c from a pilot, see
    `a_priori_constant`."""
    name, c = "a_priori", recorded.a_priori_constant
    if c is None:
        return _silent(name, "needs its constant, calibrated at a pilot N")
    target = c * recorded.samples ** time_exponent(recorded.dimension)
    time = recorded.effective_time
    if not time.max(initial=0.0) > 0 or target > time.max() * (1 + 1e-9):
        return _silent(
            name, f"its eta tau = {target:.4g} is beyond the last one, {time.max(initial=0):.4g}"
        )
    positive = np.flatnonzero(time > 0)
    nearest = positive[np.argmin(np.abs(np.log(time[positive] / target)))]
    return _at(name, recorded, int(nearest))


RULES: dict[str, Callable[[Recorded], Stop]] = {
    "oracle": oracle,
    "holdout": holdout,
    "discrepancy": discrepancy,
    "rademacher": rademacher,
    "a_priori": a_priori,
}


def time_exponent(dimension: int) -> float:
    """(d + 2)/(d + 3): best eta tau ~ N to this power, Lipschitz targets (docs/theory.md, 7.2)."""
    return (dimension + 2) / (dimension + 3)


def a_priori_constant(best_effective_time: ArrayLike, samples: int, dimension: int) -> float:
    """c such that c N^((d+2)/(d+3)) is the geometric mean of the pilot's best eta tau, one a seed,
    all at the same N. Raises ValueError unless they are positive."""
    times = np.asarray(best_effective_time, dtype=np.float64).ravel()
    if not times.size or not np.all(np.isfinite(times) & (times > 0)):
        raise ValueError("a_priori needs a pilot's best effective times, all positive")
    return float(np.exp(np.log(times).mean()) / samples ** time_exponent(dimension))


def _argmin(name: str, recorded: Recorded, column: Array | None, column_name: str) -> Stop:
    if column is None:
        return _silent(name, f"needs {column_name}, which was not measured")
    values = np.asarray(column, dtype=np.float64)
    finite = np.flatnonzero(np.isfinite(values))
    if not len(finite):
        return _silent(name, f"{column_name} is finite at no recorded step")
    index = int(finite[np.argmin(values[finite])])
    if index < finite[-1] or len(finite) == 1:
        return _at(name, recorded, index)
    after = "" if finite[-1] == len(values) - 1 else " before divergence"
    return _at(name, recorded, index, f"{column_name} still falls at the last step{after}")


def _at(name: str, recorded: Recorded, index: int, censored: str = "") -> Stop:
    step = int(recorded.steps[index])
    time = float(recorded.effective_time[index])
    return Stop(name, step, time, index, True, bool(censored), censored)


def _silent(name: str, why: str) -> Stop:
    return Stop(name, None, None, None, False, message=f"{name} never fires: {why}")


def _least(values: Array) -> float:
    return float(np.min(values[np.isfinite(values)], initial=np.inf))
