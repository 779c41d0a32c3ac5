"""Reports without pictures, for tests of what lies around these."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from analysis.drawing.figure import Drawn
from analysis.drawing.plot import Plot


def fingerprint(plot: Plot) -> Drawn:
    """In place of a picture the hash of every number and word of its plot. The picture is a
    function of these alone (`test_figures`), and takes nearly all of a report's time."""
    with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
        digest = hashlib.sha256(repr(plot).encode()).hexdigest()
    return Drawn(digest, digest.encode(), tuple(digest for _ in plot.panels))


@contextmanager
def fingerprints() -> Iterator[None]:
    """Meanwhile reports hold fingerprints."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analysis.report.page.render_all", lambda plots: [*map(fingerprint, plots)])
        yield
