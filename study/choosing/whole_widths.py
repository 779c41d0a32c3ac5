"""A sampler whose widths are powers of two, and are stored as such.

Optuna has no distribution of powers of two: exponents are one, but then every view of the database
speaks of `log2_width`, and choices without an order teach samplers nothing. So widths are whole
numbers on a logarithmic scale, and what the sampler suggests is moved to the nearest power of two
before Optuna stores it: the samplers learn from what was trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from study.spec.search import WidthRange

WIDTH = "width"


def bounds(width: WidthRange) -> tuple[int, int]:
    """The ends of the whole numbers whose nearest power of two, in the logarithm, lies in `width`:
    so the first and the last power are as likely as those between."""
    exponents = width.exponents()
    return math.ceil(2 ** (exponents[0] - 0.5)), math.floor(2 ** (exponents[-1] + 0.5))


class WholeWidths(BaseSampler):  # type: ignore[misc]  # optuna is untyped
    """`inner`, but for parameters called width (or width_0, ...) that are whole numbers."""

    def __init__(self, inner: BaseSampler) -> None:
        self._inner = inner

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        space: dict[str, BaseDistribution] = self._inner.infer_relative_search_space(study, trial)
        return space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        found: Mapping[str, Any] = self._inner.sample_relative(study, trial, search_space)
        return {name: _moved(name, search_space[name], value) for name, value in found.items()}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        value = self._inner.sample_independent(study, trial, param_name, param_distribution)
        return _moved(param_name, param_distribution, value)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._inner.before_trial(study, trial)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._inner.after_trial(study, trial, state, values)


def _moved(name: str, distribution: BaseDistribution, value: Any) -> Any:
    if name.split("_")[0] != WIDTH or not isinstance(distribution, IntDistribution):
        return value
    return 2 ** round(math.log2(value))
