"""The paper's network trained on minibatches: SGD and Adam, packed.

Each step draws b = MINIBATCH rows of all, independently and with replacement, so that the
gradient's mean is grad L: the `g` below estimates it without bias, at any number of them.

- `sgd`: W <- W - eta g.
- `adam` (Kingma and Ba 2015, algorithm 1, constant step size): M <- b1 M + (1 - b1) g,
  V <- b2 V + (1 - b2) g^2, W <- W - eta (M / (1 - b1^tau)) / (sqrt(V / (1 - b2^tau)) + eps).

The stream of minibatches depends on (study seed, N, seed), not on m, eta or the method. Shapes and
padding are those of `trainers.network.passes`: padded neurons have zero gradients, and stay zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from trainers.methods.full_batch import dtype_of, packed_network
from trainers.network.gradient_descent import DIVERGENCE_FACTOR, Batch, Record, blank, flipped
from trainers.network.passes import BLOCKED, predict, predict_apart
from trainers.problem.regression import stream
from trainers.protocol import Task
from trainers.registry import MINIBATCH, TRAINERS
from trainers.trial import TrialConfig

DRAWN = 64
"""Steps whose minibatches are drawn at a time."""


class Minibatches:
    """Indices of the rows of each step, for every task of a batch."""

    def __init__(self, configs: Sequence[TrialConfig], device: torch.device) -> None:
        self._streams = [stream("minibatch", c.study_seed, c.samples, c.seed) for c in configs]
        self._samples = [c.rows for c in configs]
        self._device = device
        self._drawn = torch.empty(0)

    def at(self, step: int) -> Tensor:
        """[B, b] indices below each task's number of rows; steps in order, from 0."""
        if step % DRAWN == 0:
            drawn = [
                rng.integers(n, size=(DRAWN, MINIBATCH))
                for rng, n in zip(self._streams, self._samples, strict=True)
            ]
            self._drawn = torch.as_tensor(np.stack(drawn, 1)).to(self._device)
        return self._drawn[step % DRAWN]


class Sgd:
    """Minibatch gradient descent on the paper's network, with a constant step size."""

    kernel_limit = TRAINERS["sgd"].kernel_limit
    handles = ("weight", "fresh", "keep")

    def operations(self, config: TrialConfig) -> float:
        """4 b m (k + d) of a step."""
        return config.step_operations

    def network(
        self,
        configs: Sequence[TrialConfig],
        weights: Mapping[str, Tensor],
        device: torch.device,
    ) -> Callable[[Tensor], Tensor]:
        """See trainers.protocol."""
        return packed_network(BLOCKED, configs, weights, device)

    def update(self, gradient: Tensor, step: int) -> Tensor:
        """The direction [B, k, m] in which W moves by eta in step `step` (from 0): the gradient."""
        return gradient

    def begin(self, W: Tensor) -> None:
        """Called before the first step with W(0)."""

    def train(
        self,
        tasks: Sequence[Task],
        recorded: Sequence[int],
        device: torch.device,
        tick: Callable[[], None],
    ) -> Iterator[Record]:
        """See trainers.protocol."""
        configs = [task.config for task in tasks]
        batch = Batch.pack([task.problem() for task in tasks], dtype_of(configs[0]), device)
        W, A, Z, Y, scale = batch.W, batch.A, batch.Z, batch.Y, batch.scale
        W0, samples = W.clone(), batch.samples.flatten()
        minibatches = Minibatches(configs, device)
        alive = torch.ones_like(scale, dtype=torch.bool)
        diverged = torch.full((len(tasks),), -1, dtype=torch.long, device=device)
        limit = torch.zeros_like(samples)
        self.begin(W)
        wanted = set(recorded)
        for step in range(recorded[-1] + 1):
            tick()
            if step and batch.renew is not None:
                batch.renew(step)
            if step in wanted:
                loss = (predict(BLOCKED, W, A, Z, scale) - Y).square().sum((1, 2)) / (2 * samples)
                if step == 0:
                    null = Y.square().sum((1, 2)) / (2 * samples)  # L of the network that is 0
                    limit = DIVERGENCE_FACTOR * torch.maximum(null, loss)
                alive, diverged = _checked(loss, limit, step, alive, diverged)
                dead = ~alive.flatten()
                shown = predict_apart(W, A, batch.Z_eval, scale)[:, :, : batch.evaluated]
                yield Record(
                    step,
                    blank(shown, dead),
                    blank(loss, dead),
                    diverged,
                    blank((W - W0).flatten(1).norm(dim=1), dead),
                    blank(flipped(batch, W, W0, BLOCKED), dead),
                    batch.weights,
                )
            if step == recorded[-1]:
                return
            chosen = minibatches.at(step)[:, None, :]
            z = torch.gather(Z, 2, chosen.expand(-1, Z.shape[1], -1))
            y = torch.gather(Y, 2, chosen.expand(-1, Y.shape[1], -1))
            residual = predict(BLOCKED, W, A, z, scale) - y
            loss = residual.square().sum((1, 2)) / (2 * MINIBATCH)
            alive, diverged = _checked(loss, limit, step, alive, diverged)
            gradient = scale / MINIBATCH * BLOCKED.backward(W, A, z, residual)
            moved = W - batch.step_size * self.update(gradient, step)
            W.copy_(torch.where(alive, moved, 0.0))


def _checked(
    loss: Tensor, limit: Tensor, step: int, alive: Tensor, diverged: Tensor
) -> tuple[Tensor, Tensor]:
    """`alive` [B, 1, 1] and `diverged` [B] after seeing `loss` [B]; NaN counts as divergence."""
    fine = loss <= limit
    diverged = torch.where(alive.flatten() & ~fine, step, diverged)
    return alive & fine.view(-1, 1, 1), diverged


class Adam(Sgd):
    """The same with Adam's update, its authors' constants and a constant step size."""

    kernel_limit = TRAINERS["adam"].kernel_limit
    first, second, epsilon = 0.9, 0.999, 1e-8

    def begin(self, W: Tensor) -> None:
        """Moments start at 0."""
        self._mean, self._square = torch.zeros_like(W), torch.zeros_like(W)

    def update(self, gradient: Tensor, step: int) -> Tensor:
        """The ratio of the moments, each corrected for its start at 0."""
        self._mean.mul_(self.first).add_(gradient, alpha=1 - self.first)
        self._square.mul_(self.second).addcmul_(gradient, gradient, value=1 - self.second)
        mean = self._mean / (1 - self.first ** (step + 1))
        square = self._square / (1 - self.second ** (step + 1))
        return mean / (square.sqrt() + self.epsilon)
