"""What the site adds to the pages as the repository shows them: files outside docs/ that they link
to, and formulas as MathML, so that no page needs a script or another host."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"\]\(\.\./([\w./-]+?)(#[\w-]+)?\)")
_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.S)
_DISPLAY = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.S)
_FENCE = re.compile(r"^```math\n(.*?)^```$", re.S | re.M)


def on_files(files: Files, config: Any) -> Files:
    """The files outside docs/ that pages link to, under their own paths; folders are left out."""
    wanted = {
        match[1]
        for page in files.documentation_pages()
        for match in _LINK.finditer(page.content_string)
        if (ROOT / match[1]).is_file()
    }
    for path in sorted(wanted):
        name = path + ".txt" if path.endswith(".md") else path
        files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, **_kwargs: Any) -> str:
    """Links out of docs/ go to those copies, and fenced formulas become arithmatex's."""
    markdown = _LINK.sub(lambda m: _inside(m[1]), markdown)
    return _FENCE.sub(lambda m: f"$$\n{m[1]}$$", markdown)


def on_page_content(html: str, **_kwargs: Any) -> str:
    """Formulas as MathML."""
    html = _INLINE.sub(lambda m: convert(unescape(m[1])), html)
    return _DISPLAY.sub(lambda m: convert(unescape(m[1]), display="block"), html)


def _inside(path: str) -> str:
    return f"]({path}.txt)" if path.endswith(".md") else f"]({path})"
