"""A sketch of a trial's predictions: enough to compare it with trials that have other data.

Twins are trials that differ in the seed alone, so in their data. How far apart their predictions
are, E||f_1 - f_2||^2 over the test set, needs both at once, and a trial is trained without the
other. So each keeps K random projections of its own predictions,

    s_j = sum_i sqrt(w_i) sum_c g_jic f_c(z_i),    g_jic = -1 or 1 with equal chance,

the signs g the same for all trials of a law, w the weights of the test points (they sum to 1). As
E g_a g_b = 0 for a != b, the mean over j of (s_j - s'_j)^2 has the mean square distance as its
expectation, and a standard deviation of at most sqrt(2 / K) of it; less where f_1 - f_2 varies in
several directions (Johnson and Lindenstrauss 1984; Achlioptas 2003 for signs).

| symbol | meaning                                       | shape            | unit |
|--------|-----------------------------------------------|------------------|------|
| f      | predictions on the test points                | [..., d, n_test] | x    |
| s      | their sketch                                  | [..., K]         | x    |
"""

from __future__ import annotations

import base64

import numpy as np
import torch
from numpy.typing import NDArray

from trainers.columns import SKETCH_SIZE
from trainers.problem.evaluation import EvaluationSet
from trainers.problem.regression import stream

Array = NDArray[np.float64]

_SIGNS = 2**20
"""Signs held at once."""


def sketch(evaluation: EvaluationSet, predictions: Array) -> Array:
    """s [B, K] of predictions [B, d, n_test] on the test points of an evaluation set."""
    config = evaluation.config
    rng = stream("sketch", config.study_seed, config.law.identity())
    # Whole words of random bits for each projection: how many are made at once changes nothing.
    values = (predictions * np.sqrt(evaluation.point_weights)).reshape(len(predictions), -1)
    length, made = values.shape[1], []
    most = max(1, _SIGNS // length)
    for start in range(0, SKETCH_SIZE, most):
        rows = min(most, SKETCH_SIZE - start)
        bits = np.frombuffer(rng.bytes(rows * 8 * -(-length // 64)), dtype=np.uint8)
        signs = 2.0 * np.unpackbits(bits.reshape(rows, -1), axis=1, count=length) - 1
        made.append(values @ signs.T)
    return np.concatenate(made, axis=1)


def as_text(values: Array) -> str | None:
    """A sketch [K], or other values, as the results table holds them: little-endian float32 in
    base64. None where they are not finite."""
    with np.errstate(over="ignore"):
        single = values.astype("<f4")
    return base64.b64encode(single.tobytes()).decode() if np.isfinite(single).all() else None


class Kept:
    """What a batch's predictions were at each trial's best recorded step and at the last, without
    waiting for the device."""

    def __init__(self, sets: list[EvaluationSet]) -> None:
        """sets: one for each trial of the batch, all of the same sizes."""
        self._sets = sets
        self._points = len(sets[0].test)
        self._looked = 0

    def look(self, errors: torch.Tensor, predictions: torch.Tensor) -> None:
        """At the next recorded step: score errors [B], and predictions [B, d, n_test or more]."""
        last = predictions[:, :, : self._points]
        if not self._looked:
            self._best, self._error = last, torch.full_like(errors, torch.inf)
            self._at = torch.zeros_like(errors, dtype=torch.long)
        better = errors < self._error
        self._error = torch.where(better, errors, self._error)
        self._at = torch.where(better, self._looked, self._at)
        self._best = torch.where(better[:, None, None], last, self._best)
        self._last = last
        self._looked += 1

    def texts(self) -> list[list[str | None]]:
        """Of each trial, for each recorded step: its sketch at the best and at the last, else
        None."""
        both = torch.stack([self._best, self._last], 1).double()
        # One copy from the device for all: numbers of steps are exact in float64.
        copied = torch.cat([both.flatten(1), self._at[:, None].double()], 1).cpu().numpy()
        return [
            at_steps(self._looked, int(own[-1]), sketch(one, own[:-1].reshape(both.shape[1:])))
            for one, own in zip(self._sets, copied, strict=True)
        ]


def at_steps(steps: int, best: int, sketches: Array) -> list[str | None]:
    """The column `sketch` of a trial with so many recorded steps: sketches [2, K] at the step
    number `best` and at the last."""
    column: list[str | None] = [None] * steps
    column[best], column[-1] = map(as_text, sketches)
    return column
