"""Addresses as they may be shown."""

from __future__ import annotations

import re


def shown(text: str) -> str:
    """`text` with the passwords of its addresses replaced by ***: of user:password@host, and of
    parameters such as ?password=."""
    text = re.sub(r"(://[^/@:\s]*):[^/\s]*@", r"\1:***@", text)
    return re.sub(
        r"(?i)([?&][\w-]*(?:password|passwd|pwd|secret|token|key)=)[^&\s]*", r"\1***", text
    )
