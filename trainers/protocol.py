"""The protocol that every trainer keeps to.

A trainer gets the training sets and the points where its networks are evaluated. It never sees f*,
nor the labels of those points. The same code measures every method, on the same evaluation set, at
the same recorded steps.

| symbol | name           | shape         | meaning                                              |
|--------|----------------|---------------|------------------------------------------------------|
| B      |                |               | tasks of one call                                    |
| z_j    | z              | [n, k]        | features (x, t - T_0, 1), or (x, t - T_0) (no bias)  |
| X_0,j  | x0             | [n, d]        | labels                                               |
| w_j    | weights        | [n]           | weights of the loss, None where all are 1            |
|        | z_eval         | [n_eval, k]   | points where predictions are recorded                |
| f(z)   | predictions    | [B, d, n_eval]| at z_eval: estimates of E[X_0 | X_t]                 |
| L      | train_loss     | [B]           | 1/(2n) sum_j w_j ||f(z_j) - X_{0,j}||^2, over all n  |

n is N, or N M where every clean point has M noisy copies. With `copies: fresh` the rows change with
every step, and `Task.rows` gives them; weights other than 1 come with the spec's `weight`. A
trainer says in `handles` which of the two it follows; trials that ask it for more fail.

Networks can be kept (the spec's `keep`) where a trainer's `handles` has "keep". Then every Record
has `weights`, which gives copies of the tensors that a task's network is made of at this step, by
name, without the batch axis and on the CPU; and the trainer has `network`, which makes of those
tensors the function that predicts. Together they say all that a file holds, so `network` may take
nothing else but the configuration. On the CPU it predicts to the bit what the record holds.

A **step** is one update of the weights, of whatever method; `recorded` and tau count them.
Effective time is eta tau, the sum of the step sizes. For full-batch descent that is the kernel's
time; for `sgd` too, since its minibatch gradient has the mean grad L; for other methods it is only
that sum, and they have no kernel columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from trainers.errors import TrainerError
from trainers.network.gradient_descent import Problem, Record
from trainers.network.passes import initial_weights
from trainers.problem.regression import Rows
from trainers.trial import TrialConfig

Array = NDArray[np.float64]

__all__ = ["KeepingTrainer", "Record", "Rows", "Task", "Trainer", "TrainerError"]


class RowsOfSteps(Protocol):
    """Rows that change with the step, as `trainers.problem.regression.FreshRows`."""

    def at(self, step: int) -> Rows:
        """The rows of `step`."""


@dataclass(frozen=True)
class Task:
    """One trial as its trainer sees it: float64 arrays, samples first (see the module's table)."""

    config: TrialConfig
    z: Array
    x0: Array
    z_eval: Array
    weights: Array | None = None
    fresh: RowsOfSteps | None = None

    def rows(self, step: int) -> Rows:
        """The rows of gradient step `step`, from 0: z, x0 and weights, unless they are fresh."""
        if self.fresh is None:
            return Rows(self.z, self.x0, self.weights)
        return self.fresh.at(step)

    def problem(self) -> Problem:
        """The same with the paper's network at tau = 0, and rows of weight 1 (`time_law`)."""
        w, a = initial_weights(self.config)
        z, x0 = self.rows(0).scaled()
        renewed = None if self.fresh is None else lambda step: self.rows(step).scaled()
        return Problem(z, x0, w, a, self.z_eval, self.config.step_size, renewed)


@runtime_checkable
class Trainer(Protocol):
    """Trains the tasks of a batch side by side. Made without arguments; keeps no state between
    calls.

    kernel_limit: whether the wide network at time eta tau is kernel gradient descent, so that the
    kernel columns (coupling, ...) mean something. It may have `handles`, a tuple of "weight",
    "fresh" and "keep": see this module's text.
    """

    kernel_limit: bool

    def operations(self, config: TrialConfig) -> float:
        """Floating-point operations of one step."""

    def train(
        self,
        tasks: Sequence[Task],
        recorded: Sequence[int],
        device: torch.device,
        tick: Callable[[], None],
    ) -> Iterator[Record]:
        """Yields a Record of the whole batch at each of the `recorded` steps (rising, from 0).

        Tasks share d, k, the number of evaluation points, `steps`, `precision` and the trainer;
        N, m, eta, data and seed may differ. A task's numbers depend on the task alone, not on its
        company, and not on how far `recorded` goes. All randomness comes from
        `trainers.problem.regression.stream`, labelled with the configuration's seeds. `tick` is
        called before every step; what it raises ends the training. A task whose loss diverges gets
        NaN and its step in `diverged_step`, and leaves the others alone.
        """


@runtime_checkable
class KeepingTrainer(Protocol):
    """What a trainer has besides where its `handles` has "keep"."""

    def network(
        self,
        configs: Sequence[TrialConfig],
        weights: Mapping[str, torch.Tensor],
        device: torch.device,
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """The function that maps features z [B, n, k] (float64, on `device`, B >= 1, any n) to
        f [B, d, n], in the training's precision or a higher one.

        weights: what `Record.weights` gave for each of the B configurations, tensor by tensor
        stacked along a new first axis; they have the same names and shapes, and the configurations
        differ in neither d, k, m nor precision. No gradient flows through it.
        """
