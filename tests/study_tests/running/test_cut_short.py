"""A run that is killed or interrupted at any of its file operations goes on as if nothing had been:
the same table, the same files, and no traceback. `make faults` cuts it at every fifth of them."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from analysis.data.results import load_results

EVERY = 5 if "FAULT_SEEDS" in os.environ else 40
pytestmark = [pytest.mark.slow, pytest.mark.timeout(36_000 // EVERY)]

REPOSITORY = Path(__file__).parents[3]
SUPPORT = REPOSITORY / "tests" / "support"


def files_of(folder: Path) -> set[str]:
    """What lies in the results, packs apart: which trials share one depends on what was there."""
    results = folder / "results" / "cut"
    names = {path.relative_to(results).as_posix() for path in results.rglob("*")}
    packs = {n for n in names if n.startswith("trials/") and n.endswith(".parquet")}
    assert packs
    return names - packs


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda n: n.name)
def test_a_run_cut_short_anywhere_goes_on(number: signal.Signals, tmp_path: Path) -> None:
    first = random.Random(f"cut short by {number.name}").randrange(EVERY)
    subprocess.run(
        [sys.executable, str(SUPPORT / "cut_driver.py"), tmp_path, number.name, str(first),
         str(EVERY)],
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{SUPPORT}"},
        check=True,
    )  # fmt: skip
    undisturbed = tmp_path / "undisturbed"
    expected = load_results(undisturbed / "results" / "cut")
    moments = [path.parent for path in tmp_path.glob("*/codes.json")]
    total = json.loads((undisturbed / "counts.json").read_text())
    assert len(moments) == len(range(first, total, EVERY)) >= 100 // EVERY
    for folder in moments:
        said, again = ((folder / name).read_text() for name in ("said", "said-again"))
        at = f"before operation {folder.name} of {total}:\n{said}\n{again}"
        code = -number if number == signal.SIGKILL else 128 + number
        assert json.loads((folder / "codes.json").read_text()) == [code, 0], at
        assert "Traceback" not in said + again, at
        if number == signal.SIGINT:
            assert sum(line.startswith("stopped: ") for line in said.splitlines()) == 1, at
        pd.testing.assert_frame_equal(load_results(folder / "results" / "cut"), expected)
        assert files_of(folder) == files_of(undisturbed), at
