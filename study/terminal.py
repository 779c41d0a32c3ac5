"""What a terminal is told, as it is: names, paths and messages of a user are never markup.

rich takes a string for markup (`[red]`) and emoji (`:smile:`) wherever one may stand, and hands
control characters on to the terminal. So every line and every cell is made here.
"""

from __future__ import annotations

from rich.console import Console
from rich.text import Text


def printable(text: str) -> str:
    """`text` on one line, what cannot be printed (controls, line breaks, half characters of a path
    that is no UTF-8) as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def literal(text: object) -> Text:
    """A cell of a table, or a line."""
    return Text(printable(str(text)))


def say(console: Console, message: str, style: str = "") -> None:
    """A line for the reader, not folded, so that paths can be copied; line breaks are kept."""
    for line in message.split("\n"):
        console.print(literal(line), style=style or None, soft_wrap=True)
