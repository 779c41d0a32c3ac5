"""A trainer of your own: network, loss and optimiser are at the top, the rest may stay.

It gets noisy points x at times t and clean labels, and its network f(x, t) learns E[X_0 | X_t = x],
the denoiser. A study names it as `trainer: MODULE:Mine`; keep all that decides its numbers in this
file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch

from trainers.problem.regression import stream
from trainers.protocol import Record, Task
from trainers.trial import TrialConfig


class Network(torch.nn.Module):
    """f(x, t) [n, d], of noisy points x [n, d] and their times t [n].

    Where the layers predict the noise eps, or the score, f follows (of a constant g = 1):

        alpha = (-t / 2).exp()[:, None]
        h = 1 - alpha**2
        f = (x - h.sqrt() * eps) / alpha  # or (x + h * score) / alpha
    """

    def __init__(self, dimension: int, width: int) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(dimension + 8, width),
            torch.nn.SiLU(),
            torch.nn.Linear(width, width),
            torch.nn.SiLU(),
            torch.nn.Linear(width, dimension),
        )

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """f [n, d]; the time comes in as four sines and cosines."""
        angles = t[:, None] * 2.0 ** torch.arange(4, device=t.device)
        f: torch.Tensor = self.layers(torch.cat([x, angles.sin(), angles.cos()], dim=1))
        return f


def objective(f: torch.Tensor, x0: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """What a step lowers: here theory's loss, 1/(2n) sum ||f_j - X_0,j||^2. A loss on eps has
    alpha^2/h = 1 / (exp(t) - 1) times each of its terms: `/ torch.expm1(t)` before the mean."""
    return (f - x0).square().sum(1).mean() / 2


def optimiser(weights: Iterable[torch.nn.Parameter], step_size: float) -> torch.optim.Optimizer:
    """How it learns, at the step size that the study gives."""
    return torch.optim.Adam(weights, lr=step_size)


class Mine:
    """Trains a network for each task, on all its rows at every step."""

    kernel_limit = False

    def operations(self, config: TrialConfig) -> float:
        """Floating-point operations of a step, about: 6 for each weight and row."""
        width = config.width
        return 6.0 * config.rows * width * (width + 2 * config.dimension + 8)

    def train(
        self,
        tasks: Sequence[Task],
        recorded: Sequence[int],
        device: torch.device,
        tick: Callable[[], None],
    ) -> Iterator[Record]:
        """A record at each step of `recorded`, the first of which is 0. tick: called every step."""
        runs = [_Run(task, device) for task in tasks]
        for step in range(recorded[-1] + 1):
            tick()
            if step in recorded:
                yield Record(
                    step,
                    predictions=torch.stack([run.predictions() for run in runs]),
                    train_loss=torch.stack([run.loss().detach() for run in runs]),
                    diverged_step=torch.tensor([run.diverged for run in runs]),
                )
            for run in runs:
                run.step(step)


class _Run:
    """One task's network while it trains. diverged: the step at which its loss was lost, or -1."""

    def __init__(self, task: Task, device: torch.device) -> None:
        config = task.config
        # z is (x, t - T_0, 1): the points, their times, and the constant of the paper's network.
        d, start = task.x0.shape[1], config.diffusion.t_min
        z, self.x0, evaluated = (
            torch.as_tensor(array, dtype=torch.float64, device=device)
            for array in (task.z, task.x0, task.z_eval)
        )
        self.data, self.evaluated = ((a[:, :d], a[:, d] + start) for a in (z, evaluated))
        # Weights from the trial's own seed: a trial's numbers depend on the trial alone.
        rng = stream("mine", config.study_seed, config.seed, config.width)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**62)))
            made = Network(d, config.width)
        self.network = made.to(device, torch.float64)
        self.optimiser = optimiser(self.network.parameters(), config.step_size)
        self.diverged = -1

    def predictions(self) -> torch.Tensor:
        """f [d, n_eval] at the points where it is evaluated."""
        with torch.no_grad():
            f: torch.Tensor = self.network(*self.evaluated)
        return f.T

    def loss(self) -> torch.Tensor:
        """1/(2n) sum ||f(x_j, t_j) - X_0,j||^2, theory's loss, which the record wants."""
        f: torch.Tensor = self.network(*self.data)
        return (f - self.x0).square().sum(1).mean() / 2

    def step(self, step: int) -> None:
        """One update; from divergence on all its numbers are NaN."""
        if self.diverged >= 0:
            return
        loss = objective(self.network(*self.data), self.x0, self.data[1])
        if not bool(loss < 1e6):
            self.diverged = step
            with torch.no_grad():
                for weight in self.network.parameters():
                    weight.fill_(float("nan"))
            return
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
