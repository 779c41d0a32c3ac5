"""What a pack costs: seconds of one worker, from the sizes of its trials and a worker's speeds.

| part        | model                                                                          |
|-------------|--------------------------------------------------------------------------------|
| training    | 4 B N m (k + d) operations a step of a batch of B (descent; other trainers by  |
|             | their own count), and `step` seconds a step                                    |
| evaluation  | 2 B m (k + d) operations a recorded step and evaluated point; `record` seconds   |
|             | a recorded step and trial                                                      |
| kernel      | kernel entries evaluated, and float64 operations on them (see `kernel_work`,     |
|             | and `limit_work` for trials of infinite width, which train nothing)            |
| untrained   | a weight exp(-|x - alpha X_i|^2/2h) a test point and clean point of each data    |
|             | set, in units of a kernel entry (`untrained_work`)                             |
| the rest    | `trial` seconds a trial, `pack` seconds a pack                                 |

B, N and m are those of the padded batches that the trainer would make.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from trainers.limits import (
    CLEAN_POINTS,
    EIGEN_SAMPLES,
    FUSED_MAX_FEATURES,
    INTERPOLATION_SAMPLES,
    STACKED_SAMPLES,
    STORED_SAMPLES,
    TILE,
)
from trainers.network.batches import batches
from trainers.registry import facts_of
from trainers.trial import LIMIT_TIME, TrialConfig, grouped

LANCZOS_PRODUCTS = 16
LIMIT_PRODUCTS = 24
"""Of trials of infinite width, which go on to a later time; more in proportion to its root."""

EIGH_OPERATIONS = 10.0
"""A float64 eigh takes as long as this many N^3 operations of a matrix product."""

FRESH_SECONDS, FRESH_STEP = 2.5e-8, 2.5e-4
"""To draw a number of fresh noise, with what is made of it, and for each data set a step."""

THIN = 1.5
"""The kernel's matrices are long and thin, and float64 products of such take this much longer."""


@dataclass(frozen=True)
class Speeds:
    """What one worker does while all workers are busy. source: where the figures come from.

    fused, matmul: operations a second of the training passes of small and of large k + d.
    step, record: seconds that a batch's step, and a trial's recorded step, take beyond that.
    entries: kernel entries a second. products: float64 operations a second of matrix products.
    startup: seconds to load torch and its compiled passes. trial, pack: seconds of each.
    """

    fused: float
    matmul: float
    step: float
    record: float
    entries: float
    products: float
    startup: float
    trial: float = 0.004
    pack: float = 0.3
    source: str = "recorded default"

    def slower(self, factor: float, source: str) -> Speeds:
        """The speeds of a worker that takes `factor` times as long."""
        return Speeds(
            self.fused / factor,
            self.matmul / factor,
            self.step * factor,
            self.record * factor,
            self.entries / factor,
            self.products / factor,
            self.startup,
            self.trial * factor,
            self.pack,
            source,
        )

    def threaded(self, threads: float) -> Speeds:
        """An estimate for a worker of so many cores (or such a share of a GPU)."""
        return replace(
            self,
            fused=self.fused * threads,
            matmul=self.matmul * threads,
            entries=self.entries * threads,
            products=self.products * threads,
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


DEFAULT_SPEEDS = {
    "cpu": Speeds(3e10, 3e10, 8e-4, 2e-4, 1.5e8, 3e10, 12.0),
    "cuda": Speeds(5e12, 5e12, 3e-4, 1e-4, 5e9, 5e11, 20.0),
}
"""One CPU core, and one GPU, until they are measured."""


def seconds_of(trials: Sequence[TrialConfig], speeds: Speeds) -> float:
    """Seconds that one worker takes for these trials as one pack."""
    if not trials:
        return 0.0
    trained = math.fsum(
        _batch_seconds([trials[i] for i in batch], speeds)
        for batch in batches(trials)
        if not trials[batch[0]].infinite
    )
    data_sets = _data_sets(trials)
    works = [kernel_work(data_set) for data_set in data_sets]
    limits = _limits(trials)
    works += [limit_work(data_set) for data_set in limits]
    sets = [*data_sets, *limits]
    families = {(s[0].law, s[0].diffusion, s[0].norms) for s in sets if s[0].norms}
    works += [(CLEAN_POINTS**2 / 2, EIGH_OPERATIONS * CLEAN_POINTS**3)] * len(families)
    kernel = math.fsum(
        entries / speeds.entries + THIN * operations / speeds.products
        for entries, operations in works
    )
    distinct = {(t.law, t.diffusion, t.samples, t.seed, t.study_seed): t for t in trials}
    untrained = math.fsum(map(untrained_work, distinct.values()))
    return speeds.pack + len(trials) * speeds.trial + trained + kernel + untrained / speeds.entries


def _batch_seconds(batch: Sequence[TrialConfig], speeds: Speeds) -> float:
    first, count = batch[0], len(batch)
    n, m = max(t.rows for t in batch), max(t.width for t in batch)
    k, d = first.features, first.dimension
    recorded = min(first.recorded, first.steps + 1)
    evaluated = first.evaluated_points
    full_batch = facts_of(first.trainer).full_batch
    fused = full_batch and k + d <= FUSED_MAX_FEATURES
    if full_batch:
        trained = 4.0 * count * n * m * (k + d) * first.steps
    else:
        trained = math.fsum(t.training_operations for t in batch)
    # The flips of activations are counted against W(0): two more passes of the first layer.
    counted = 2 * m * ((k + d) * evaluated + 2 * k * n)
    operations = trained + float(count * recorded * counted)
    fresh = 0.0
    if first.fresh:
        drawn = {(*t.data_key, t.bias): t.samples * (1 + d) for t in batch}
        fresh = first.steps * (FRESH_SECONDS * sum(drawn.values()) + len(drawn) * FRESH_STEP)
    rate = (speeds.fused if fused else speeds.matmul) / (2 if first.precision == "float64" else 1)
    trained_in = operations / rate + first.steps * speeds.step * facts_of(first.trainer).overhead
    return trained_in + recorded * count * speeds.record + fresh


def has_kernel(trial: TrialConfig) -> bool:
    """Whether a network has a kernel reference: asked for, and its trainer has a kernel limit."""
    return trial.kernel_reference and facts_of(trial.trainer).kernel_limit


def _data_sets(trials: Sequence[TrialConfig]) -> list[list[TrialConfig]]:
    """The trials with a kernel reference, by data set."""
    return _by_data_set([t for t in trials if has_kernel(t)])


def _limits(trials: Sequence[TrialConfig]) -> list[list[TrialConfig]]:
    """The trials of infinite width, by data set."""
    return _by_data_set([t for t in trials if t.infinite])


def _by_data_set(trials: Sequence[TrialConfig]) -> list[list[TrialConfig]]:
    return grouped(trials, lambda t: (*t.data_key, t.bias, t.norms))


def untrained_work(trial: TrialConfig) -> float:
    """What the memorizer of a trial's data set takes, in kernel entries: a weight costs as much as
    an entry at d = 2, and twice that at d = 8 (measured on a core)."""
    return trial.samples * trial.test_points * (4 + trial.dimension) / 6


def kernel_work(data_set: Sequence[TrialConfig]) -> tuple[float, float]:
    """Kernel entries and float64 operations of the reference of one data set's trials: its
    decomposition, the columns of each trajectory (step size), the never-stopped limit, and f_H
    at the data; f_H itself is found once a law."""
    t = data_set[0]
    n, evaluated = t.rows, t.test_points + t.holdout_points
    labels = t.dimension * (2 + len(t.norms))
    edge = TILE["cpu"]
    rows, points = (math.ceil(x / edge) * edge for x in (n, evaluated))
    gram, at_points = rows * (rows + edge) / 2, float(rows * points)
    if n <= EIGEN_SAMPLES:
        basis = n
        entries = gram + at_points
        operations = EIGH_OPERATIONS * n**3 + 2.0 * basis * at_points
    else:
        basis = min(n, (LANCZOS_PRODUCTS - 2) * labels)
        passes = 1 if n <= STORED_SAMPLES else LANCZOS_PRODUCTS
        entries = passes * gram + at_points
        operations = 2.0 * (LANCZOS_PRODUCTS * labels + basis) * n**2 + 2.0 * basis * at_points
        operations += 4.0 * n * basis**2
    plain = sum(x.initialisation == "plain" for x in data_set)
    trajectories = len({x.step_size for x in data_set}) + plain
    operations += 2.0 * trajectories * t.recorded * labels * basis * evaluated
    if plain:  # each has its own start, decomposed anew
        entries, operations = entries * (1 + plain), operations * (1 + plain)
    if n <= INTERPOLATION_SAMPLES:
        entries += gram + rows * math.ceil(t.test_points / edge) * edge
        operations += n**3 / 3
    if t.norms:
        entries += (n + evaluated) * CLEAN_POINTS
    return entries, operations


def limit_products(config: TrialConfig) -> int:
    """Passes over K that a trial of infinite width takes."""
    return math.ceil(LIMIT_PRODUCTS * math.sqrt(config.limit_time / LIMIT_TIME))


def limit_work(data_set: Sequence[TrialConfig]) -> tuple[float, float]:
    """Kernel entries and float64 operations of one data set's trials of infinite width: its
    decomposition, the read-out of each step size, the never-stopped limit, and f_H at the data."""
    t = data_set[0]
    n, evaluated = t.rows, t.evaluated_points
    labels = t.dimension * (2 + len(t.norms))
    rows = t.recorded * labels
    gram, at_points = float(n * n), float(n * evaluated)
    if n <= STACKED_SAMPLES:
        entries = gram + at_points
        operations = EIGH_OPERATIONS * n**3
        read = 2.0 * rows * (gram + at_points)
    else:
        taken = limit_products(t)
        basis = min(n, taken * labels)
        entries = (gram / 2 if n <= STORED_SAMPLES else taken * gram / 2) + at_points
        # Four vectors at a time keep a core half as busy as a square product does.
        operations = 2 * 2.0 * taken * labels * gram + 2.0 * basis * at_points
        operations += 4.0 * n * basis**2
        read = 2.0 * rows * basis * evaluated
    operations += len({x.step_size for x in data_set}) * read
    if n <= INTERPOLATION_SAMPLES:
        operations += n**3 / 3
    if t.norms:
        entries += n * CLEAN_POINTS
    return entries, operations
