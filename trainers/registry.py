"""The trainers that come with the project: one row each, all that others must know of one.

TrialConfig, the batches, the planner and the loader read this table; a trainer is entered here and
nowhere else. Standard library only: the driver plans without torch.

| symbol | name       | meaning                                            |
|--------|------------|----------------------------------------------------|
| N      | samples    | training triples                                   |
| m      | width      | hidden neurons (of each hidden layer of the MLP)   |
| k      | features   | input features of the paper's network              |
| d      | dimension  | outputs                                            |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from trainers.limits import GROUPED_MAX_OUTPUTS

DESCENT = "descent"
"""The default trainer, whose name content ids leave unsaid."""

KERNEL_LIMIT = "kernel_limit"
"""What trials of infinite width are made by: kernel descent in closed form. It is no trainer that a
spec names: `width: inf` says it."""

MINIBATCH = 64
"""Training triples in each step of the trainers that use minibatches."""

MLP_LAYERS, MLP_TIME_FEATURES = 3, 16
"""Hidden layers, and features of the time embedding, of `mlp_adamw`."""


class Sizes(Protocol):
    """The sizes that costs follow from; a TrialConfig has them."""

    @property
    def rows(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def features(self) -> int: ...
    @property
    def dimension(self) -> int: ...


def _network_parameters(sizes: Sizes) -> int:
    """m k: only the first layer is trained."""
    return sizes.width * sizes.features


def _mlp_parameters(sizes: Sizes) -> int:
    """Weights and biases of every layer; each hidden layer sees the time embedding too."""
    m, e, d = sizes.width, MLP_TIME_FEATURES, sizes.dimension
    return m * (d + e + 1) + (MLP_LAYERS - 1) * m * (m + e + 1) + d * (m + 1)


def _network_operations(samples: int, sizes: Sizes) -> int:
    """4 n m (k + d): one step of the paper's network on n samples (docs/theory.md, section 3)."""
    return 4 * samples * sizes.width * (sizes.features + sizes.dimension)


def _full_batch_operations(sizes: Sizes) -> int:
    return _network_operations(sizes.rows, sizes)


def _minibatch_operations(sizes: Sizes) -> int:
    return _network_operations(MINIBATCH, sizes)


def _mlp_operations(sizes: Sizes) -> int:
    """6 for every parameter and sample of a minibatch."""
    return 6 * MINIBATCH * _mlp_parameters(sizes)


def _nothing(sizes: Sizes) -> int:
    return 0


def _no_values(sizes: Sizes, points: int) -> int:
    return 0


def _group_sums(sizes: Sizes, points: int) -> int:
    """The sums of each group of neurons, at every point of either pass."""
    d = sizes.dimension
    return 2 ** (d - 1) * points if d <= GROUPED_MAX_OUTPUTS else 0


def _mlp_values(sizes: Sizes, points: int) -> int:
    """Weights, gradient, two moments, average, and the new weights."""
    return 6 * _mlp_parameters(sizes)


@dataclass(frozen=True)
class TrainerFacts:
    """The facts about a trainer that need not load it.

    made_by: `module:Class`, which implements trainers.protocol.Trainer.
    kernel_limit: whether the wide network at time eta tau is kernel gradient descent.
    paper_network: whether the initialisation and the bias of the paper's network apply.
    full_batch: descent on all rows, by the passes of trainers.network.
    overhead: what a step takes beside its arithmetic, in units of a full-batch step's.
    parameters(sizes): number of trained parameters. operations(sizes): floating-point operations
    of one step. values(sizes, points): numbers that a trial holds in its batch beyond those of
    every packed network, with so many training and evaluation points after padding.
    """

    made_by: str
    kernel_limit: bool
    paper_network: bool = True
    full_batch: bool = False
    overhead: float = 1.0
    parameters: Callable[[Sizes], int] = _network_parameters
    operations: Callable[[Sizes], int] = _full_batch_operations
    values: Callable[[Sizes, int], int] = _no_values


TRAINERS: dict[str, TrainerFacts] = {
    DESCENT: TrainerFacts(
        "trainers.methods.full_batch:Descent",
        kernel_limit=True,
        full_batch=True,
        values=_group_sums,
    ),
    "sgd": TrainerFacts(
        "trainers.methods.minibatch:Sgd", kernel_limit=True, operations=_minibatch_operations
    ),
    "adam": TrainerFacts(
        "trainers.methods.minibatch:Adam", kernel_limit=False, operations=_minibatch_operations
    ),
    "mlp_adamw": TrainerFacts(
        "trainers.methods.mlp:MlpAdamW",
        kernel_limit=False,
        paper_network=False,
        overhead=2.5,
        parameters=_mlp_parameters,
        operations=_mlp_operations,
        values=_mlp_values,
    ),
}
"""By the name that a spec gives; others are trainers of the user's own, `module:Class`."""

LIMIT = TrainerFacts(
    "",
    kernel_limit=True,
    parameters=_nothing,
    operations=_nothing,
)
"""Of trials of infinite width (trainers.methods.kernel_limit): there is no network, no step, and
nothing is trained."""

_OWN = TrainerFacts("", kernel_limit=True)


def facts_of(trainer: str) -> TrainerFacts:
    """The row of `trainer`. A trainer of the user's own is planned as full-batch descent with a
    kernel limit, until it is loaded and says its own."""
    if trainer == KERNEL_LIMIT:
        return LIMIT
    return TRAINERS.get(trainer, _OWN)
