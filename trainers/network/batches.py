"""The grouping of trials into batches of packed tensors, and the memory of a batch.

Standard library and pydantic only: the planner asks the same questions as the trainer.
"""

from __future__ import annotations

from collections.abc import Sequence

from trainers.columns import ERROR_COLUMNS
from trainers.registry import facts_of
from trainers.trial import TrialConfig, grouped

MAX_PADDING = 1.15
"""Trials of different N or m share a batch while padding adds at most this factor of work."""

BATCH_BYTES = 1 << 30
"""Memory that the tensors of one batch may take; a single trial may take more."""


def batches(configs: Sequence[TrialConfig]) -> list[list[int]]:
    """Indices of `configs` grouped into batches that train together, largest trials first."""

    def kind(index: int) -> object:
        c = configs[index]
        sizes = (c.features, c.dimension, c.test_points, c.holdout_points, c.gap_points)
        constant = c.weight == "x0"  # the last feature of a row
        # Trials of infinite width are solved one data set after the other, whatever their steps.
        return (
            *sizes,
            constant,
            c.fresh,
            c.precision,
            c.steps * (not c.infinite),
            c.recorded,
            c.trainer_label,
        )

    made = []
    for members in grouped(range(len(configs)), kind):
        if configs[members[0]].infinite:
            members.sort(key=lambda i: configs[i].rows, reverse=True)
            made.append(members)
            continue
        members.sort(key=lambda i: (configs[i].width, configs[i].rows), reverse=True)
        current: list[int] = []
        n = m = useful = 0
        for index in members:
            c = configs[index]
            # Of the batch with this trial: its padded N and m, and the part that is no padding.
            n, m, useful = max(n, c.rows), max(m, c.width), useful + c.rows * c.width
            count = len(current) + 1
            padded = count * n * m > MAX_PADDING * useful
            if current and (padded or count * bytes_of_trial(c, n, m) > BATCH_BYTES):
                made.append(current)
                current, n, m, useful = [], c.rows, c.width, c.rows * c.width
            current.append(index)
        made.append(current)
    return made


def bytes_of_trial(config: TrialConfig, rows: int, width: int) -> int:
    """Bytes that a trial padded to so many rows and m = width holds in its batch."""
    k, d = config.features, config.dimension
    evaluated = config.evaluated_points
    # float32: W, W(0), gradient and the new W; A; Z and Y, residual, prediction and one temporary.
    packed = width * (5 * k + d) + rows * (k + 4 * d) + evaluated * (k + 2 * d)
    packed += facts_of(config.trainer).values(config, rows + evaluated)
    # float64: predictions, residuals and labels; weights of the errors.
    measured = 3 * evaluated * d + config.test_points * len(ERROR_COLUMNS)
    return packed * (4 if config.precision == "float32" else 8) + measured * 8
