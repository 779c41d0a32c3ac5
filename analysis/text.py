"""Numbers as text: in verdicts, captions, tables, on the page; text where all is ASCII; addresses
without their passwords."""

from __future__ import annotations

import math
import re
import unicodedata


def fixed(value: float, digits: int = 2) -> str:
    """`digits` decimals, without a negative zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def number(value: float, digits: int = 2) -> str:
    """`digits` decimals with a real minus sign; a dash for NaN, the sign of infinity."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return fixed(value, digits).replace("-", "−")


def digits(low: float, high: float) -> int:
    """Decimals that show the ends of an interval apart: 2, or 3 where it is narrow."""
    width = high - low
    if not math.isfinite(width) or width <= 0:
        return 2
    return min(max(2, math.ceil(-math.log10(width))), 3)


def interval(low: float, high: float) -> str:
    """`0.61 to 0.69`, or a dash where there is none."""
    if math.isnan(low) or math.isnan(high):
        return "–"
    places = digits(low, high)
    return f"{number(low, places)} to {number(high, places)}"


def share(level: float) -> str:
    """A confidence level as `95 %`."""
    return f"{100 * level:g} %"


def percent(share: float, digits: int = 3) -> str:
    """A share in percent, to so many digits: `15 %`."""
    return f"{100 * share:.{digits}g} %"


def p_text(p_value: float) -> str:
    """A p-value as papers print it: `p = 0.0044`, `p < 0.001`."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"


def counted(number: int, noun: str) -> str:
    """`1 seed`, `8 seeds`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def minus(text: str) -> str:
    """`text` as it is read: a real minus sign before numbers, `5.7e-08` as `5.7 × 10⁻⁸`."""
    text = re.sub(
        r"(?<=\d)e([+-]\d+)\b",
        lambda m: f" × 10{str(int(m.group(1))).translate(_RAISED)}",
        text,
    )
    return re.sub(r"(?<![\w^)\]])-(?=\d)", "−", text)


_PLAIN = {
    "≥": ">=", "≤": "<=", "−": "-", "⁻": "-", "–": "-", "±": "+-", "×": "x", "∞": "inf", "‖": "||",
    "∝": "~", "→": "->", "’": "'", "“": '"', "”": '"', "✓": "yes", "✗": "no",
}  # fmt: skip


def in_ascii(text: str) -> str:
    """`text` where all is ASCII: `>=`, `eta`, `10-8`; `?` for what has no name."""
    return "".join(map(_plain, text))


def _plain(letter: str) -> str:
    close = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    name = unicodedata.name(letter, "")
    greek = name.rpartition(" ")[2].lower() if name.startswith("GREEK SMALL LETTER") else ""
    return _PLAIN.get(letter) or close or greek or "?"


def shown(text: str) -> str:
    """`text` with the passwords of its addresses replaced by ***: of user:password@host, and of
    parameters such as ?password=."""
    text = re.sub(r"(://[^/@:\s]*):[^/\s]*@", r"\1:***@", text)
    return re.sub(
        r"(?i)([?&][\w-]*(?:password|passwd|pwd|secret|token|key)=)[^&\s]*", r"\1***", text
    )
