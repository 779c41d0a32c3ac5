"""Packed full-batch gradient descent: many trials, one batch of tensors (docs/theory.md, 3).

L(W) = 1/(2N) sum_j ||f_W(z_j) - X_{0,j}||^2, W(tau+1) = W(tau) - eta grad L, where
grad_{w_r} L = m^(-1/2)/N sum_j (R_j . a_r) 1[w_r . z_j > 0] z_j and relu'(0) = 0.

`descend` yields a `Record` at each recorded step; what is measured there comes from the pass that
training makes anyway, except the predictions on the evaluation points. Trials of a batch share
(k, d, precision) and the recorded steps, and may differ in N, m, eta, data and weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.network.graphs import Replayed
from trainers.network.passes import (
    BLOCKED,
    SAMPLES_MULTIPLE,
    Passes,
    pad_samples,
    padded_length,
    predict,
    predict_apart,
)
from trainers.network.sign_groups import features_last, group, group_length, ungrouped

DIVERGENCE_FACTOR = 1e3
"""A training loss above this multiple of the larger of L(W(0)) and L(0) counts as divergence.
A step size just above the stability limit may raise the loss for a while and settle in a flatter
place; that stays far below this factor."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """One trial's arrays, float64, samples first.

    z [N, k], x0 [N, d]: training set; w [k, m], a [d, m]: weights at tau = 0;
    z_eval [n, k]: where predictions are recorded (the same n for all trials of a batch).
    renewed: gives z and x0 of a step, where they are other ones at every step.
    """

    z: Array
    x0: Array
    w: Array
    a: Array
    z_eval: Array
    step_size: float
    renewed: Callable[[int], tuple[Array, Array]] | None = None


@dataclass(frozen=True)
class Record:
    """The batch at one recorded step: predictions [B, d, n_eval], the others [B]; NaN once
    diverged. `diverged_step` is -1 for trials that have not diverged by this step. The next two are
    of the paper's network: None for others.

    weights: copies, on the CPU, of what a task's network is made of here (trainers.protocol). It is
    called before the next record is asked for, or never.
    """

    step: int
    predictions: Tensor
    train_loss: Tensor
    diverged_step: Tensor
    displacement: Tensor | None = None
    flipped_fraction: Tensor | None = None
    weights: Callable[[int], Mapping[str, Tensor]] | None = None


@dataclass
class Batch:
    """The packed tensors of a list of problems; see trainers.network.passes for shapes and padding,
    and trainers.network.sign_groups for those of W, A, Z and Z_eval where neurons are grouped."""

    W: Tensor
    A: Tensor
    Z: Tensor
    Y: Tensor
    Z_eval: Tensor
    scale: Tensor
    step_size: Tensor
    samples: Tensor
    width: Tensor
    evaluated: int
    signs: Sequence[Array] = ()
    """a [d, m] of every trial."""
    grouped: bool = False
    renew: Callable[[int], None] | None = None
    """Puts the rows of a step in Z and Y, where they are other ones at every step."""

    @classmethod
    def pack(
        cls,
        problems: Sequence[Problem],
        dtype: torch.dtype,
        device: torch.device,
        grouped: bool = False,
        multiple: int | None = None,
    ) -> Batch:
        """Zero-pads the trials to common N and m and moves them to `device`.

        multiple: N and m are padded to a multiple of it, and points are feature-major though
        neurons be grouped; None for what the CPU's passes want."""
        n = padded_length(max(len(p.z) for p in problems), multiple or SAMPLES_MULTIPLE)
        n_eval = padded_length(len(problems[0].z_eval), multiple or SAMPLES_MULTIPLE)

        def tensor(values: Sequence[Array]) -> Tensor:
            # In the order of its axes, and no view: the compiler would compile again.
            joined = np.ascontiguousarray(np.stack(values))
            return torch.as_tensor(joined, dtype=dtype).to(device)

        def each(values: list[float]) -> Tensor:
            return tensor([np.array(v) for v in values]).view(-1, 1, 1)

        def points(values: list[Array], length: int) -> Tensor:
            layout = features_last if grouped and multiple is None else pad_samples
            return tensor([layout(z, length) for z in values])

        if grouped:
            length = group_length([p.a for p in problems])
            both = [group(p.w, p.a, length) for p in problems]
            W, A = (tensor(arrays) for arrays in zip(*both, strict=True))
        else:
            m = max(2, *(p.w.shape[1] for p in problems))
            m += -m % (multiple or 1)
            W, A = (
                tensor([np.pad(v, ((0, 0), (0, m - v.shape[1]))) for v in arrays])
                for arrays in ([p.w for p in problems], [p.a for p in problems])
            )
        Z = points([p.z for p in problems], n)
        Y = tensor([pad_samples(p.x0, n) for p in problems])

        def renew(step: int) -> None:
            rows = [(p.z, p.x0) if p.renewed is None else p.renewed(step) for p in problems]
            Z.copy_(points([z for z, _ in rows], n))
            Y.copy_(tensor([pad_samples(x0, n) for _, x0 in rows]))

        return cls(
            W=W,
            A=A,
            Z=Z,
            Y=Y,
            Z_eval=points([p.z_eval for p in problems], n_eval),
            scale=each([p.w.shape[1] ** -0.5 for p in problems]),
            step_size=each([p.step_size for p in problems]),
            samples=each([float(len(p.z)) for p in problems]),
            width=each([float(p.w.shape[1]) for p in problems]),
            evaluated=len(problems[0].z_eval),
            signs=[p.a for p in problems],
            grouped=grouped,
            renew=renew if any(p.renewed for p in problems) else None,
        )

    def weights(self, trial: int) -> dict[str, Tensor]:
        """Of one trial, copied to the CPU: w [k, m], its signs a [d, m], and the `layout` in which
        it lies here, on which the order of its sums depends: whether neurons are grouped by sign
        pattern, and the padded number of neurons (of a group)."""
        W, a = self.W[trial].detach().cpu(), self.signs[trial]
        length = self.W[trial, 0, 0].numel() if self.grouped else self.W.shape[2]
        w = torch.as_tensor(ungrouped(W.numpy(), a)) if self.grouped else W[:, : a.shape[1]].clone()
        layout = torch.tensor([int(self.grouped), length])
        return {"w": w, "a": torch.as_tensor(a, dtype=torch.int8), "layout": layout}


def descend(
    batch: Batch,
    recorded: Sequence[int],
    passes: Passes,
    tick: Callable[[], None] = lambda: None,
) -> Iterator[Record]:
    """Runs descent on `batch`, in place, to the last of the `recorded` steps (rising, from 0).

    `tick` is called before every step, or, on a GPU, before every few that run as one graph; what
    it raises ends the descent. Nothing here waits for the device: records are its tensors.

    A trial whose loss stops being finite or passes DIVERGENCE_FACTOR is blank from there on, and
    the step at which that was seen is in the records that follow. Its weights go on, to infinity
    or not: no trial enters another's sums, and a mask would be the dearest pass over the weights.
    """
    tick()
    descent = _Descent(batch, passes)
    # Rows that come from the host at every step are in no graph.
    graphs = passes.tiled and batch.W.device.type == "cuda" and batch.renew is None
    replayed: Replayed | None = None
    reached = 0
    for step in recorded:
        while reached < step:
            tick()
            if graphs and replayed is None and reached:  # all kernels of a step have run once
                replayed = Replayed.of(descent)
            reached += replayed.go_on(step - reached) if replayed else descent.steps(1)
        yield descent.record(step)


class _Descent:
    """The state of a batch between two steps: the weights, and what one pass at them gave."""

    def __init__(self, batch: Batch, passes: Passes) -> None:
        """At tau = 0, with the pass at W(0) made."""
        self._batch, self._passes = batch, passes
        self._taken = 0
        W, Y = batch.W, batch.Y
        self._W0 = W.clone()
        # A trial may be several entries of W's first axis: these have one row for each trial.
        self._weights, self._start = (v.view(Y.shape[0], -1) for v in (W, self._W0))
        self._minus_rate = -(batch.step_size * batch.scale / batch.samples).view(-1, 1)
        self._twice_samples = 2 * batch.samples.flatten()
        self._alive = torch.ones(Y.shape[0], dtype=torch.bool, device=W.device)
        self._survived = torch.zeros(Y.shape[0], dtype=torch.long, device=W.device)
        self.loss, self.gradient = self._pass()
        null = Y.square().sum((1, 2)) / self._twice_samples  # L of the network that is 0
        self._limit = DIVERGENCE_FACTOR * torch.maximum(null, self.loss)
        self._look()

    def _pass(self) -> tuple[Tensor, Tensor]:
        b = self._batch
        squares, gradient = self._passes.step(b.W, b.A, b.Z, b.Y, b.scale)
        return squares / self._twice_samples, gradient

    def _look(self) -> None:
        # Written so that NaN fails the comparison.
        self._alive.logical_and_(self.loss <= self._limit)
        self._survived.add_(self._alive)

    def steps(self, count: int) -> int:
        """Takes `count` steps; returns it. The last gradient goes unused, one in a training."""
        for _ in range(count):
            self._weights.addcmul_(self.gradient.view(self._weights.shape), self._minus_rate)
            self._taken += 1
            if self._batch.renew is not None:
                self._batch.renew(self._taken)
            self.loss, self.gradient = self._pass()
            self._look()
        return count

    def record(self, step: int) -> Record:
        """What is recorded here, at `step`."""
        b, dead = self._batch, ~self._alive
        apart = self._passes is BLOCKED
        predictions = (
            predict_apart(b.W, b.A, b.Z_eval, b.scale)
            if apart
            else predict(self._passes, b.W, b.A, b.Z_eval, b.scale)
        )
        return Record(
            step,
            blank(predictions, dead)[:, :, : b.evaluated],
            blank(self.loss, dead),
            torch.where(self._alive, -1, self._survived),
            blank((self._weights - self._start).norm(dim=1), dead),
            blank(flipped(b, b.W, self._W0, self._passes), dead),
            b.weights,
        )


def blank(values: Tensor, dead: Tensor) -> Tensor:
    """`values` [B, ...] with NaN for the trials that are `dead` [B]."""
    return values.masked_fill(dead.view(-1, *[1] * (values.dim() - 1)), float("nan"))


def flipped(batch: Batch, W: Tensor, W0: Tensor, passes: Passes) -> Tensor:
    """Share of the N m activations 1[w_r . z_j > 0] that differ from tau = 0; padding has none."""
    flips = passes.flips(W, W0, batch.Z).double().view(len(batch.samples), -1).sum(1)
    return flips / (batch.samples * batch.width).flatten()
