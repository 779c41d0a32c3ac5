"""The figures of a report drawn again, from the results beside it: what figures/redraw.py calls."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.data.results import load_results
from analysis.drawing.figure import draw, save
from analysis.figures.study import study_plots
from analysis.figures.tuning import tuning_plots
from analysis.searches.best import load_importance
from analysis.searches.tuning import load_evaluations
from analysis.verdicts.evaluation import evaluate
from analysis.verdicts.own import Stated


def redraw(
    place: str | Path,
    names: Collection[str] = (),
    change: Callable[[str, Any], object] | None = None,
    theories: Sequence[str] | None = None,
    own: Sequence[Mapping[str, Any]] = (),
) -> list[str]:
    """Draws the figures of a report again, as SVG and PDF beside `place`, the same bytes as the
    report's; returns their names.

    place: the folder figures/ of a results directory, or a file in it. names: only the figures
    whose name holds one of these; none: all. change: called with the name and the matplotlib
    figure before it is saved. theories: the keys of those judged, default all. own: the fields of
    the study's own predictions (`analysis.verdicts.own.Stated`). The stopping rules are those of
    stops.parquet in the folder. Raises ResultsError where there are no results beside the folder.
    """
    place = Path(place).resolve()
    folder = place if place.is_dir() else place.parent
    frame = load_results(folder.parent / "results.parquet")
    tuning = load_evaluations(str(folder.parent))
    if tuning is None:
        rules = pd.read_parquet(folder / "stops.parquet", columns=["rule"])["rule"].unique()
        stated = [Stated(**fields) for fields in own]
        judged = evaluate(frame, extra=stated, stopping=rules.tolist(), theories=theories)
        plots, _omitted = study_plots(judged)
    else:
        plots = tuning_plots(tuning, frame, load_importance(str(folder.parent)))
    chosen = [p for p in plots if not names or any(name in p.name for name in names)]
    for plot in chosen:
        figure = draw(plot)
        if change is not None:
            change(plot.name, figure)
        save(figure, folder / plot.name)
    return [plot.name for plot in chosen]
