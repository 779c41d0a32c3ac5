"""Random studies, tables and command lines: one message, exit code 0 or 2, no hang.

`make faults` tries 5,000.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SEEDS = 25 if "FAULT_SEEDS" in os.environ else 2
FUZZER = Path(__file__).parents[1] / "support" / "fuzz.py"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_input_is_answered(tmp_path: Path, seed: int) -> None:
    """200 inputs a seed. A process of its own: the fuzzer sets an alarm and a working directory."""
    command = [sys.executable, str(FUZZER), str(tmp_path), str(seed), "200"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout.strip())
