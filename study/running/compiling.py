"""Whether torch compiles something in this process: what a worker's first minute goes into.

Compiled passes are kept on the machine, so that it happens once; without a word of it a run that
has just begun looks stuck.
"""

from __future__ import annotations

import sys
from typing import Any

_HANDLER = "torch._dynamo.callback"
"""Where torch keeps who is told of a compilation; not loaded before the first of them."""


class Compiling:
    """Asked now and then, while another thread trains: `compiling()`."""

    def __init__(self) -> None:
        self._told = self._now = False

    def __call__(self) -> bool:
        """Whether torch compiles just now. Never loads torch."""
        handler = getattr(sys.modules.get(_HANDLER), "callback_handler", None)
        if handler is not None and not self._told:
            self._told = True
            handler.register_start_callback(self._begun)
            handler.register_end_callback(self._ended)
        return self._now

    def _begun(self, _what: Any) -> None:
        self._now = True

    def _ended(self, _what: Any) -> None:
        self._now = False
