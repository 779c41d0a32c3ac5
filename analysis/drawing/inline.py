"""A figure's SVG as part of a page.

It has a transparent ground, ink in `currentColor`, and each colour as a CSS variable named after
its value on white (`--c-0072b2`), for which `style.palette_css` gives values on light and on dark
ground.
"""

from __future__ import annotations

import html
import re
from zlib import crc32

from analysis.drawing.style import DOT, GROUND, HUES, INK, SHADES

_LINE_OF_DOTS = 20

_GLYPH = re.compile(r'<path id="(STIX[^"]*|DejaVu[^"]*)"(?: d="([^"]*)")?([^>]*)/>')
_WORD = re.compile(r'<g( style="[^"]*" transform="[^"]*")>((?:<use href="#[A-Z]\w*"[^>]*/>)+)</g>')
_RUN = re.compile(r'(?:<use href="#[^"]*" x="[^"]*" y="[^"]*" style="[^"]*"/>\s*){2,}')


def inline(svg: str, prefix: str, title: str, glyphs: dict[str, str]) -> str:
    """The `<svg>` element of a file for use within a page: no ground, colours as CSS variables, ids
    short and kept apart from those of other figures by `prefix`, glyphs and words of them taken out
    into `glyphs`; `title` is plain text, escaped here. A fifth of the bytes of the file."""
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", "",
                 svg[svg.index("<svg") :], flags=re.DOTALL)  # fmt: skip
    # The ground is the first white patch; later ones are edges of markers, and take the page's.
    svg = svg.replace(f"fill: {GROUND}", "fill: none", 1)
    svg = svg.replace(GROUND, "var(--ground)").replace(INK, "currentColor")
    svg = svg.replace("xlink:href", "href")
    ours = {*HUES, *SHADES}
    svg = re.sub(
        r"#[0-9a-f]{6}\b(?!\))",
        lambda m: f"var(--c-{m.group()[1:]})" if m.group() in ours else m.group(),
        svg,
    )
    # A figure names what it refers to, and nothing else; letters are named alike in all.
    own = {}
    for name, path, more in _GLYPH.findall(svg):
        own[name] = re.sub(r"^STIXGeneral|^DejaVu|-", "", name)
        glyphs[own[name]] = f'<path id="{own[name]}" d="{_short(path)}"{more}/>'
    svg = _GLYPH.sub("", svg)
    for name in re.findall(r"(?:href=\"|url\()#([^\")]+)", svg):
        own.setdefault(name, f"{prefix}-{len(own)}")
    svg = re.sub(r' id="([^"]*)"', lambda m: f' id="{own[m[1]]}"' if m[1] in own else "", svg)
    svg = re.sub(r"(href=\"|url\()#([^\")]+)", lambda m: f"{m[1]}#{own[m[2]]}", svg)
    svg = re.sub(r'\bd="([^"]*)"', lambda m: f'd="{_short(m[1])}"', svg)
    svg = re.sub(r'(?<= [xy])="(-?\d+\.\d)\d+"', r'="\1"', svg)
    svg = re.sub(
        r'(<use href="[^"]*") transform="translate\((-?[\d.]+) (-?[\d.]+)\)"',
        lambda m: f'{m[1]} x="{float(m[2]):.4g}"' + f' y="{float(m[3]):.3g}"' * (float(m[3]) != 0),
        svg,
    )
    svg = re.sub(r"\s*\n\s*|<defs>\s*</defs>", "", svg)
    svg = _RUN.sub(_together, svg)

    def word(found: re.Match[str]) -> str:
        name = f"t{crc32(found[2].encode()):x}"
        glyphs[name] = f'<g id="{name}">{found[2]}</g>'
        return f'<use href="#{name}"{found[1]}/>'

    svg = _WORD.sub(word, svg)
    svg = re.sub(r"<g></g>|<g/>", "", svg)
    head, body = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    label = html.escape(title, quote=True)
    return f'<svg role="img" aria-label="{label}" {box.group() if box else ""}>{body.strip()}'


def _short(path: str) -> str:
    """A path to a hundredth of a point, without the spaces that nobody reads."""
    path = re.sub(r"(\.\d\d)\d+", r"\1", path)
    return re.sub(r"\s*([MLQCZz])\s*", r"\1", path).strip()


def _together(run: re.Match[str]) -> str:
    """A run of markers with their style said once; many faint dots as one line of points."""
    styles = set(re.findall(r' style="[^"]*"', run[0]))
    if len(styles) > 1:
        return run[0]
    style = styles.pop()
    places = re.findall(r' x="([^"]*)" y="([^"]*)"', run[0])
    faint = re.search(r"fill: ([^;]*); fill-opacity: ([^;\"]*)", style)
    if faint is None or len(places) < _LINE_OF_DOTS:
        return f"<g{style}>{run[0].replace(style, '')}</g>"
    line = "".join(f"M{x} {y}h0" for x, y in places)
    drawn = f"stroke: {faint[1]}; stroke-opacity: {faint[2]}; stroke-width: {DOT / 2}"
    return f'<path d="{line}" style="{drawn}; stroke-linecap: round"/>'
