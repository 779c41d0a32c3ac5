"""Draws plots with matplotlib: figures, vector files for a paper, and inline SVG for a page."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from matplotlib.figure import Figure

from analysis.drawing.inline import inline
from analysis.drawing.panels import drawn_panels, natural_width
from analysis.drawing.plot import Plot
from analysis.drawing.style import styled


def draw(plot: Plot, width: float | None = None) -> Figure:
    """`plot` on a new matplotlib figure, panels side by side, `width` inches wide (default: a
    column for one panel, a page for more). Change what you like, then `savefig`."""
    with styled():
        return drawn_panels(plot.panels, width or natural_width(plot.panels))


@dataclass(frozen=True)
class Drawn:
    """A plot as file contents, and as one inline SVG element a panel, without what stands below it
    in print. glyphs: what these draw letters with, by id, which a page holds once."""

    svg: str
    pdf: bytes
    inline: tuple[str, ...]
    glyphs: Mapping[str, str] = field(default_factory=dict)


def render(plot: Plot, key: str = "f") -> Drawn:
    """`plot` as SVG and PDF, the same bytes for the same numbers, and its panels for a page, on
    which `key` tells it from others."""
    with styled():
        figure = draw(plot)
        svg = _svg(figure)
        pdf = _pdf(figure)
        alone = [
            _svg(drawn_panels((replace(p, below=None),), natural_width((p,)))) for p in plot.panels
        ]
    glyphs: dict[str, str] = {}
    texts = tuple(
        inline(
            text,
            f"{key}-{i}",
            plot.alt if i == 0 else f"{plot.title}, part {i + 1}",
            glyphs,
        )
        for i, text in enumerate(alone)
    )
    return Drawn(svg, pdf, texts, glyphs)


def save(figure: Figure, stem: Path) -> None:
    """Writes `figure` as stem.svg and stem.pdf, as `render` does: the same bytes for the same
    figure, fonts embedded whole (matplotlib's default, Type 3, is refused by many publishers)."""
    with styled():
        stem.with_name(f"{stem.name}.svg").write_text(_svg(figure), encoding="utf-8")
        stem.with_name(f"{stem.name}.pdf").write_bytes(_pdf(figure))


def written(figure: Figure, suffix: str) -> bytes:
    """`figure` as a file whose name ends in `.svg`, `.pdf` or else `.png`; the first two as `save`
    writes them."""
    with styled():
        if suffix == ".svg":
            return _svg(figure).encode()
        if suffix == ".pdf":
            return _pdf(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()


def _pdf(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="pdf", metadata={"CreationDate": None})
    return buffer.getvalue()


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    # Paths to a thousandth of a point: a third less to store and to read.
    return re.sub(
        r' d="[^"]*"',
        lambda path: re.sub(r"(\.\d{3})\d+", r"\1", path.group()),
        buffer.getvalue(),
    )
