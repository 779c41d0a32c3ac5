"""Which path trains: by the sizes and by what is on the machine, said and recorded."""

import logging

import numpy as np
import pytest
import torch._dynamo

from trainers import TrialConfig, TrialStatus, train_pack
from trainers.limits import FUSED_MAX_FEATURES
from trainers.methods import full_batch as descent
from trainers.network.passes import compiler_problem


def config(dimension: int) -> TrialConfig:
    return TrialConfig.model_validate(
        {
            "law": {"kind": "cube", "dimension": dimension},
            "samples": 20,
            "width": 16,
            "step_size": 1.0,
            "steps": 5,
            "recorded": 3,
            "test_points": 16,
            "holdout_points": 8,
            "kernel": False,
        }
    )


def test_without_a_compiler_the_blocked_path_trains_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(descent, "compiler_problem", lambda device: "InvalidCxxCompiler: no g++")
    with caplog.at_level(logging.WARNING, logger="trainers.pack"):
        (trained,) = train_pack([config(2)], "cpu")
    assert trained.values["kernel_path"] == "blocked"
    assert trained.status is TrialStatus.COMPLETED
    assert "InvalidCxxCompiler: no g++" in caplog.text
    assert np.isfinite(np.array(trained.series["train_loss"], dtype=float)).all()


@pytest.mark.compiled
def test_a_compiler_that_is_switched_off_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """TORCH_COMPILE_DISABLE=1, of which torch makes this."""
    torch.compiler.reset()  # what was compiled before would still run
    monkeypatch.setattr(torch._dynamo.config, "disable", True)
    assert "fullgraph" in compiler_problem.__wrapped__("cpu")


def test_many_features_take_matrix_products_and_ask_for_no_compiler(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def asked(device: str) -> str:
        raise AssertionError("no compiler is needed")

    monkeypatch.setattr(descent, "compiler_problem", asked)
    (trained,) = train_pack([config(FUSED_MAX_FEATURES)], "cpu")
    assert trained.values["kernel_path"] == "matmul"
    assert not caplog.text
