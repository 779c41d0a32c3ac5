"""The figures of an evaluation in Python: each shows itself in a notebook."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
from matplotlib.figure import Figure

from analysis.drawing.figure import draw, render
from analysis.drawing.plot import Plot
from analysis.figures.study import study_plots
from analysis.verdicts.evaluation import Evaluation


@dataclass(frozen=True, eq=False)
class Shown:
    """One figure. figure: a matplotlib figure, drawn when it is first asked for; change what you
    like, then `figure.savefig`. table: the numbers that it draws."""

    plot: Plot

    @cached_property
    def figure(self) -> Figure:
        return draw(self.plot)

    @property
    def table(self) -> pd.DataFrame:
        return self.plot.table

    @property
    def caption(self) -> str:
        return self.plot.caption

    def __repr__(self) -> str:
        return f"<figure {self.plot.name}: {self.plot.title}>"

    def _repr_svg_(self) -> str:
        return render(self.plot).svg


class Figures(Mapping[str, Shown]):
    """The figures of an evaluation by name, in the order of the page."""

    def __init__(self, plots: list[Plot]) -> None:
        self._by_name = {plot.name: Shown(plot) for plot in plots}

    def __getitem__(self, name: str) -> Shown:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def __repr__(self) -> str:
        return "\n".join(map(repr, self.values())) or "no figures"


def figures_of(evaluation: Evaluation) -> Figures:
    """Every figure of the page of an evaluation, by the name of its file. None is drawn before it
    is shown."""
    return Figures(study_plots(evaluation)[0])
