"""Formulas as they should read on a page: powers raised, indices lowered, Greek letters, no line
break within a quantity.

They are written in plain text (`N^-0.4`, `f_W`, `lambda_max`), which a terminal, a JSON file and a
log can hold; `typeset` turns that into HTML.
"""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from analysis.text import minus

_SIGNS = {
    "->": "→", ">=": "≥", "<=": "≤", r"\binfinity\b": "∞", r"\blambda(?=\b|_)": "λ",
    r"\btau\b": "τ", r"\beta\b": "η", r"\balpha\b": "α", r"\bT_0\b": "T₀",
}  # fmt: skip
_POWER = re.compile(r"\^([-−]?(?:\((?:[^()]|\([^()]*\))*\)|\d+(?:[./]\d+)*|[A-Za-z]+|\*))")
_INDEX = re.compile(r"(?<![A-Za-z0-9_])([A-Za-zλτσ]|‖)_([A-Za-z0-9]{1,3})(?![A-Za-z0-9_])")
_SPACE = "\N{NO-BREAK SPACE}"


def typeset(text: str) -> Markup:
    """`text` as HTML, escaped unless it is Markup: superscripts for `^`, subscripts for `_` after
    a single letter, and `minus`; no line break before `%` or around an equals sign that a number
    follows. Names such as `score_error` are left as they are."""
    if isinstance(text, Markup):
        return text
    for word, sign in _SIGNS.items():
        text = re.sub(word, sign, text)
    html = _POWER.sub(_raised, str(escape(minus(text))))
    html = _INDEX.sub(r"\1<sub>\2</sub>", html)
    html = re.sub(r"(?<=\d) (?=%)", _SPACE, html)
    return Markup(re.sub(r"(?<=\S) (=|≥|≤|&lt;|×) (?=[\d−])", rf"{_SPACE}\1{_SPACE}", html))


def _raised(found: re.Match[str]) -> str:
    power = found.group(1).replace("-", "−")
    if power.startswith("("):  # needed in plain text only
        power = power[1:-1]
    return f"<sup>{power}</sup>"
