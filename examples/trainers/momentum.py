"""A trainer of your own: the paper's network under gradient descent with heavy-ball momentum.

Name it in a study beside this file, as `trainer: momentum:Momentum`, and check it with

    cd examples/trainers && python -m trainers.conformance momentum:Momentum
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch

from trainers.protocol import Record, Task
from trainers.trial import TrialConfig

BETA = 0.9


class Momentum:
    """V <- BETA V + grad L, W <- W - eta V, task by task, in float64."""

    kernel_limit = False
    handles = ("weight", "keep")

    def operations(self, config: TrialConfig) -> float:
        return 4.0 * config.rows * config.width * (config.features + config.dimension)

    def train(
        self,
        tasks: Sequence[Task],
        recorded: Sequence[int],
        device: torch.device,
        tick: Callable[[], None],
    ) -> Iterator[Record]:
        nets = [_Network(task, device) for task in tasks]
        for step in range(recorded[-1] + 1):
            tick()
            if step in recorded:
                yield Record(
                    step,
                    predictions=torch.stack([net.predict(net.z_eval).T for net in nets]),
                    train_loss=torch.stack([net.loss() for net in nets]),
                    diverged_step=torch.tensor([net.diverged for net in nets]),
                    weights=lambda task: {"w": nets[task].w.cpu(), "a": nets[task].a.cpu()},
                )
            for net in nets:
                net.step(step)

    def network(
        self,
        configs: Sequence[TrialConfig],
        weights: Mapping[str, torch.Tensor],
        device: torch.device,
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        pairs = list(zip(weights["w"].to(device), weights["a"].to(device), strict=True))
        return lambda z: torch.stack(
            [output(points, *pair).T for points, pair in zip(z, pairs, strict=True)]
        )


def output(z: torch.Tensor, w: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """f_W [n, d] at z [n, k]."""
    return torch.relu(z @ w) @ a.T / w.shape[1] ** 0.5


class _Network:
    def __init__(self, task: Task, device: torch.device) -> None:
        # W(0) [k, m] and a [d, m] from the trial's own seed; rows of weight 1, scaled where theirs
        # is another: which the paper's network, homogeneous, cannot tell apart.
        start = task.problem()
        arrays = (start.z, start.x0, start.z_eval, start.w, start.a)
        self.z, self.x0, self.z_eval, self.w, self.a = (
            torch.as_tensor(array, device=device) for array in arrays
        )
        self.velocity = torch.zeros_like(self.w)
        self.eta, self.diverged = task.config.step_size, -1

    def predict(self, z: torch.Tensor) -> torch.Tensor:
        return output(z, self.w, self.a)

    def loss(self) -> torch.Tensor:
        return (self.predict(self.z) - self.x0).square().sum(1).mean() / 2

    def step(self, step: int) -> None:
        residual = self.predict(self.z) - self.x0
        signal = (residual @ self.a) * (self.z @ self.w > 0)
        gradient = self.z.T @ signal / (len(self.z) * self.w.shape[1] ** 0.5)
        self.velocity = BETA * self.velocity + gradient
        self.w = self.w - self.eta * self.velocity
        if self.diverged < 0 and not bool(self.loss() < 1e6):
            self.diverged = step + 1
            self.w = torch.full_like(self.w, float("nan"))
