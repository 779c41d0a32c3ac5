"""The coupling E||f_W - f^K||^2 over the test set, along a batch's records.

On a GPU the kernel's predictions go there once, before training, so that a record waits for
nothing; on the CPU both are in the same memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from trainers.kernel.reference import KernelColumns
from trainers.problem.evaluation import EvaluationSet


class CouplingOnHost:
    """The couplings of a batch, in numpy."""

    def __init__(
        self, kernels: Sequence[KernelColumns | None], sets: Sequence[EvaluationSet]
    ) -> None:
        """kernels, sets: of each trial of the batch; None for a trial without a kernel."""
        self._kernels, self._sets = kernels, sets

    def at(self, index: int, predictions: Tensor) -> Tensor:
        """[B] float64 at the `index`-th record, of predictions [B, d, n_eval]; NaN without a
        kernel."""
        distances = predictions.new_full((len(self._kernels),), torch.nan, dtype=torch.float64)
        if not any(self._kernels):
            return distances
        values = predictions.numpy()
        with np.errstate(over="ignore", invalid="ignore"):
            for b, (kernel, own) in enumerate(zip(self._kernels, self._sets, strict=True)):
                if kernel is not None:
                    difference = values[b][:, : kernel.test.shape[1]].T - kernel.test[index]
                    distances[b] = float(own.mean_square(difference))
        return distances


class CouplingOnDevice:
    """The same by tensors of `device`, which hold f^K once for each distinct trajectory."""

    def __init__(
        self,
        kernels: Sequence[KernelColumns | None],
        sets: Sequence[EvaluationSet],
        device: torch.device,
    ) -> None:
        distinct = list({id(k): k for k in kernels if k is not None}.values())
        place = {id(kernel): i for i, kernel in enumerate(distinct)}
        members = [b for b, kernel in enumerate(kernels) if kernel is not None]
        self._trials = len(kernels)
        self._members = torch.tensor(members, dtype=torch.long, device=device)
        which = [place[id(kernels[b])] for b in members]
        self._which = torch.tensor(which, dtype=torch.long, device=device)
        if not members:
            return
        # [R, U, d, n] of U trajectories, and [B', n] of B' trials.
        together = np.stack([kernel.test for kernel in distinct], axis=1).swapaxes(2, 3)
        self._kernel = torch.as_tensor(np.ascontiguousarray(together)).to(device)
        weights = np.stack([sets[b].point_weights for b in members])
        self._weights = torch.as_tensor(weights).to(device)

    def at(self, index: int, predictions: Tensor) -> Tensor:
        """As `CouplingOnHost.at`."""
        distances = predictions.new_full((self._trials,), torch.nan, dtype=torch.float64)
        if not len(self._members):
            return distances
        own = predictions[self._members][:, :, : self._weights.shape[1]].double()
        squares = (own - self._kernel[index][self._which]).square().sum(1)
        distances[self._members] = (squares * self._weights).sum(1)
        return distances
