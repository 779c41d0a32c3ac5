"""Which path trains: by the sizes and by what is on the machine, said and recorded."""

import logging

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from trainers import TrialConfig, TrialStatus, train_pack
from trainers.limits import FUSED_MAX_FEATURES
from trainers.methods import full_batch as descent
from trainers.methods.full_batch import Descent, choose_passes, warm_up
from trainers.network.sign_groups import grouped_passes, worthwhile
from trainers.protocol import Task
from trainers.trial import Cube

CPU = torch.device("cpu")


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


def test_many_features_take_matrix_products_and_ask_for_no_compiler(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def asked(device: str) -> str:
        raise AssertionError("no compiler is needed")

    monkeypatch.setattr(descent, "compiler_problem", asked)
    (trained,) = train_pack([config(FUSED_MAX_FEATURES)], "cpu")
    assert trained.values["kernel_path"] == "matmul"
    assert not caplog.text


@pytest.mark.parametrize(("width", "trials"), [(16, 3), (512, 3), (512, 1)])
def test_a_real_batch_runs_what_the_warm_up_compiled(width: int, trials: int) -> None:
    rng = np.random.default_rng(7)
    z = np.concatenate([rng.normal(size=(50, 3)), np.ones((50, 1))], axis=1)
    tasks = [
        Task(
            TrialConfig(law=Cube(dimension=2), samples=50, width=width, step_size=0.5, seed=seed),
            z,
            rng.uniform(-1, 1, size=(50, 2)),
            z[:20],
        )
        for seed in range(trials)
    ]
    problems = [task.problem() for task in tasks]
    passes, _ = choose_passes(tasks[0].config, CPU)
    if worthwhile([p.a for p in problems]):
        passes = grouped_passes(True, 2)
    assert passes.grouped == (width == 512)
    warm_up(passes, 4, 2, trials, torch.float32, CPU)
    before = counters["stats"]["unique_graphs"]
    assert len(list(Descent().train(tasks, [0, 2, 4], CPU, lambda: None))) == 3
    assert counters["stats"]["unique_graphs"] == before
