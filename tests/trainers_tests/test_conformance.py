"""The trainers that come along conform; trainers with a planted flaw are each caught at it."""

from pathlib import Path

import pytest

from trainers.conformance import CHECKS, ConformanceError, Subject, check_trainer, main, results
from trainers.errors import TrainerError
from trainers.methods.custom import load_custom, trainer_fields

EXAMPLE = (Path(__file__).parents[2] / "examples/trainers/momentum.py").read_text()
STEP_SIZES = {"descent": 0.5, "sgd": 0.3, "adam": 0.02, "mlp_adamw": 0.003}


@pytest.mark.slow
@pytest.mark.parametrize("name", STEP_SIZES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_built_in_trainers_conform(check, name: str) -> None:
    check(Subject(name, STEP_SIZES[name]))


STEP = "net.step(step)"
START = "start = task.problem()"
RESIDUAL = "residual = self.predict(self.z) - self.x0\n        signal"
FLAWS = {
    "records at the steps": ("if step in recorded:", "if step in recorded and step != 1:"),
    "predictions of shape": ("net.predict(net.z_eval).T for", "net.predict(net.z_eval) for"),
    "train_loss, recomputed": (".sum(1).mean() / 2", ".sum(1).mean()"),
    "trained twice": ("torch.zeros_like(self.w)", "torch.rand_like(self.w)"),
    "other numbers with another seed": (
        START,
        "same = task.config.model_copy(update={'seed': 0})\n"
        "        start = replace(task, config=same).problem()",
    ),
    "in a pack and alone": (STEP, f"{STEP}\n                net.w = net.w / len(nets)"),
    "up to an earlier end": (STEP, f"{STEP}\n                net.w = net.w / recorded[-1] ** 0.01"),
    "at other points": ("torch.relu(z @ w)", "torch.relu(z @ w + z.mean())"),
    "to stay as they are": (START, f"task.x0[0] = 0\n        {START}"),
    "other labels change nothing": (RESIDUAL, RESIDUAL.replace(" - self.x0", "")),
    "call of tick": ("            tick()\n", ""),
    "diverged_step where": ("self.diverged = step + 1", "pass"),
    "positive number of operations": ("return 4.0 * config", "return -4.0 * config"),
    "kernel_limit to be": ("kernel_limit = False", "kernel_limit = None"),
    "with other labels of weight 0": (START, "start = replace(task, weights=None).problem()"),
    "that follow the rows of each step": ('("weight", "keep")', '("weight", "fresh")'),
    "of a network that was kept": ('"w": nets[task].w.cpu()', '"w": nets[0].w.cpu()'),
    "that falls": ("self.w = self.w - self.eta", "self.w = self.w + 0.01 * self.eta"),
}
"""What the check says -> a flaw planted in the example."""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(text: str) -> str:
        (tmp_path / "mine_under_test.py").write_text(text)
        return "mine_under_test:Momentum"

    return make


def test_the_example_conforms(write) -> None:
    check_trainer(write(EXAMPLE))


@pytest.mark.slow
@pytest.mark.parametrize("said", FLAWS)
def test_a_flaw_is_caught(said: str, write) -> None:
    old, new = FLAWS[said]
    assert old in EXAMPLE
    text = EXAMPLE.replace(old, new).replace(
        "import torch\n", "from dataclasses import replace\n\nimport torch\n", 1
    )
    with pytest.raises(ConformanceError, match=said):
        check_trainer(write(text))


@pytest.mark.slow
def test_the_command_prints_a_line_a_check(write, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([write(EXAMPLE)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(CHECKS)
    assert all(line.startswith("ok ") for line in lines)
    assert main([write(EXAMPLE.replace("mean() / 2", "mean()"))]) == 1
    assert "FAIL  its train loss is that of its predictions" in capsys.readouterr().out
    assert main(["no_such_module:Trainer"]) == 2
    assert "no_such_module" in capsys.readouterr().err
    assert main(["adma"]) == 2


def test_an_edited_file_is_another_trainer(write) -> None:
    name = write(EXAMPLE)
    before = trainer_fields(name)
    assert load_custom(name, before["trainer_sha256"]).operations(Subject(name).config()) > 0
    write(EXAMPLE.replace("return 4.0 *", "return 8.0 *"))
    with pytest.raises(TrainerError, match="is not the file that the study was planned with"):
        load_custom(name, before["trainer_sha256"])
    after = trainer_fields(name)
    assert after != before
    config = Subject(name).config()
    assert load_custom(name, after["trainer_sha256"]).operations(config) == 8 * 40 * 16 * 6


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class Momentum:\n    pass\n", "must have kernel_limit, operations and train"),
        ("class Other:\n    pass\n", "has no class Momentum"),
        ("class Momentum:\n    x = 1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_a_file_that_holds_no_trainer_is_told(text: str, said: str, write) -> None:
    with pytest.raises(TrainerError, match=said):
        results(Subject(write(text)))
