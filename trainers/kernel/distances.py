"""Distances E||f_W - f||^2 over the test set, along a batch's records: to the kernel's descent (the
coupling), or to the memorizer.

On a GPU what networks are held against goes there once, before training, so that a record waits for
nothing; on the CPU both are in the same memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.problem.evaluation import EvaluationSet

Array = NDArray[np.float64]


def distances(
    others: Sequence[Array | None], sets: Sequence[EvaluationSet], device: torch.device
) -> DistancesOnHost | DistancesOnDevice:
    """others: of each trial of the batch f at the test points, [R, n, d] along the records or
    [1, n, d] where it stays; None for a trial without one. sets: of each trial."""
    if device.type == "cpu":
        return DistancesOnHost(others, sets)
    return DistancesOnDevice(others, sets, device)


class DistancesOnHost:
    """The distances of a batch, in numpy."""

    def __init__(self, others: Sequence[Array | None], sets: Sequence[EvaluationSet]) -> None:
        self._others, self._sets = others, sets

    def at(self, index: int, predictions: Tensor) -> Tensor:
        """[B] float64 at the `index`-th record, of predictions [B, d, n_eval]; NaN without f."""
        found = predictions.new_full((len(self._others),), torch.nan, dtype=torch.float64)
        if all(other is None for other in self._others):
            return found
        values = predictions.numpy()
        with np.errstate(over="ignore", invalid="ignore"):
            for b, (other, own) in enumerate(zip(self._others, self._sets, strict=True)):
                if other is not None:
                    there = other[min(index, len(other) - 1)]
                    found[b] = float(own.mean_square(values[b][:, : len(there)].T - there))
        return found


class DistancesOnDevice:
    """The same by tensors of `device`, which hold each distinct f once."""

    def __init__(
        self,
        others: Sequence[Array | None],
        sets: Sequence[EvaluationSet],
        device: torch.device,
    ) -> None:
        distinct = list({id(f): f for f in others if f is not None}.values())
        place = {id(f): i for i, f in enumerate(distinct)}
        members = [b for b, f in enumerate(others) if f is not None]
        self._trials = len(others)
        self._members = torch.tensor(members, dtype=torch.long, device=device)
        which = [place[id(others[b])] for b in members]
        self._which = torch.tensor(which, dtype=torch.long, device=device)
        if not members:
            return
        # [R, U, d, n] of U functions, and [B', n] of B' trials.
        together = np.stack(distinct, axis=1).swapaxes(2, 3)
        self._others = torch.as_tensor(np.ascontiguousarray(together)).to(device)
        weights = np.stack([sets[b].point_weights for b in members])
        self._weights = torch.as_tensor(weights).to(device)

    def at(self, index: int, predictions: Tensor) -> Tensor:
        """As `DistancesOnHost.at`."""
        found = predictions.new_full((self._trials,), torch.nan, dtype=torch.float64)
        if not len(self._members):
            return found
        own = predictions[self._members][:, :, : self._weights.shape[1]].double()
        there = self._others[min(index, len(self._others) - 1)][self._which]
        found[self._members] = ((own - there).square().sum(1) * self._weights).sum(1)
        return found
