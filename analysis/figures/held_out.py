"""What is seen of training where f* is not known: the denoising loss on pairs held out.

It is half the score error and half the noise E||X_0 - f*||^2 (docs/theory.md, section 2), on the
law of the training's times: the second does not depend on the network, so where the loss is least
the score error is.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.data.curves.trajectories import trials
from analysis.data.sweeps import Setting, held, level_means, quartiles, sweep
from analysis.data.table import Table
from analysis.drawing.plot import Panel, Plot, Series, Topic, positive

LOSS = r"held-out loss ($x^2$)"
AXES = {"samples": "samples $N$", "width": "width $m$", "step_size": r"step size $\eta$"}
_LETTERS = {"samples": "N", "width": "m", "step_size": r"\eta"}


def without_truth(setting: Setting) -> Iterator[Plot]:
    """Held-out loss against steps and, at its least, against each axis that was varied."""
    varied = {axis: along for axis in AXES if (along := sweep(setting.frame, axis)) is not None}
    for axis, along in varied.items():
        lines = []
        for level, shade, rows in along.each():
            label = f"${_LETTERS[axis]}$ = {level:g}"
            lines.append(Series(label, *quartiles(rows, "holdout_loss"), shade=shade))
        means = _least(along.frame, axis)
        yield Plot(
            name=f"{setting.stem}_held_out_{axis}",
            title="Held-out loss",
            caption="The denoising loss on pairs that training never saw is half the score "
            "error and a constant that no network changes: at its least, one stops. Left, medians "
            "and quartiles over seeds; right, means of the least with 95 % intervals.",
            panels=(
                Panel(r"gradient steps $\tau$", LOSS, positive(lines)),
                Panel(AXES[axis], LOSS, positive([means]), ticks=along.levels),
            ),
            group=setting.label,
            note=held(along.fixed),
            topic=Topic.SAMPLES if axis == "samples" else Topic.STOPPING,
        )


def _least(frame: Table, axis: str) -> Series:
    table = trials(frame, ("holdout_loss",))
    loss = table.series["holdout_loss"]
    known = np.isfinite(loss).any(axis=1)
    least = np.nanmin(np.where(np.isfinite(loss), loss, np.inf), axis=1)[known]
    at = table.rows[axis].to_numpy(dtype=float)[known]
    return Series("at its least", *level_means(at, least), role="points")
