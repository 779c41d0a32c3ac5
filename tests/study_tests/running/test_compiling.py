"""Progress knows while torch compiles, and loads no torch to know it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
import torch._dynamo

from study.running.compiling import Compiling


def test_it_is_so_within_a_compilation_and_not_before_or_after() -> None:
    compiling, seen = Compiling(), []
    assert not compiling()

    def backend(graph: Any, _inputs: Any) -> Any:
        seen.append(compiling())
        return graph.forward

    doubled = torch.compile(lambda x: 2 * x, backend=backend)
    assert doubled(torch.ones(3)).tolist() == [2, 2, 2]
    assert seen == [True]
    assert not compiling()
    doubled(torch.ones(3))
    assert seen == [True]


def test_one_that_fails_ends_as_well() -> None:
    compiling = Compiling()
    compiling()

    def backend(_graph: Any, _inputs: Any) -> Any:
        raise ArithmeticError("planted")

    with pytest.raises(Exception, match="planted"):
        torch.compile(lambda x: 3 * x, backend=backend)(torch.ones(3))
    assert not compiling()


@pytest.mark.slow
def test_asking_loads_no_torch() -> None:
    code = (
        "import sys; from study.running.compiling import Compiling; assert not Compiling()(); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
