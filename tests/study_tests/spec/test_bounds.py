"""Studies beyond what numbers, memory or patience hold: refused at once, with key and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from study import StudySpec, cli
from study.planning.memory import machine_bytes, memory_of, refuse_what_does_not_fit
from study.spec.messages import SpecError
from study.spec.strict_yaml import MAXIMUM_BYTES

STUDY = """
name: edge
law: {kind: gaussian_mixture, dimension: 2, components: 4, std: 0.2, seed: 1}
diffusion: {t_min: 0.05, t_max: 1.0}
steps: 20
seeds: 2
base: {samples: 32, width: 64, step_size: 1.0}
"""


def refused(text: str) -> str:
    with pytest.raises(SpecError) as raised:
        refuse_what_does_not_fit(StudySpec.from_text(text).points(), 16 * 2**30)
    said = str(raised.value)
    assert len(said.splitlines()) <= 30
    assert max(map(len, said.splitlines())) < 1000
    return said


def edited(old: str, new: str) -> str:
    assert old in STUDY
    return STUDY.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("dimension: 2", "dimension: 100000", "law.dimension = 100,000"),
        ("components: 4", "components: 1000000000", "law.components = 1,000,000,000"),
        ("components: 4", "components: 1e12", "law.components = 1000000000000: must be at most"),
        ("std: 0.2", "std: 1.0e300", "law.std = 1e+300: must be at most 1e+06"),
        ("std: 0.2", "std: 1e-300", "law.std = 1e-300: must be at least 1e-06"),
        ("t_max: 1.0", "t_max: 1.0e300", "diffusion.t_max = 1e+300: must be at most 10000"),
        ("t_min: 0.05", "t_min: 1e-300", "diffusion.t_min = 1e-300: must be at least 1e-08"),
        ("steps: 20", f"steps: 1{'0' * 400}", "steps = 1000"),
        ("steps: 20", f"steps: 1{'0' * 400}", "(401 characters): must be at most"),
        ("steps: 20", f"steps: 1{'0' * 5000}", "line 5: a number of 5,001 digits"),
        ("seeds: 2", "seeds: 1000000", "seeds = 1000000: must be at most 100,000"),
        ("samples: 32", "samples: 1e9", "samples = 1,000,000,000"),
        ("width: 64", "width: 1e9", "width = 1,000,000,000"),
        ("steps: 20", "test_points: 16_000_000", "test_points = 16,000,000"),
        ("steps: 20", "resources: {workers: 1000000000}", "resources.workers = 1000000000: must"),
        ("steps: 20", "resources: {cpus_per_pack: 1e9}", "resources.cpus_per_pack"),
        ("steps: 20", "recorded: 1e6", "recorded = 1000000: must be at most 1,000"),
        ("step_size: 1.0", "step_size: 1e300", "base.step_size = 1e+300: must be at most 1e+30"),
        ("samples: 32, width: 64",
         f"samples: {list(range(1, 1000))}, width: {list(range(2, 900, 2))}",
         "asks for 897,102 trials, more than 100,000"),
        ("seed: 1", f"seed: {list(range(200))}, dimension: {list(range(1, 90))}", "given twice"),
        ("std: 0.2, seed: 1", f"std: {[0.1] * 200}, seed: {list(range(200))}",
         "law makes 40,000 laws, more than 10,000"),
        ("steps: 20", f"k{'e' * 900}y: 1", "unknown key keee"),
        ("steps: 20", '"a\\nb\\e[2J": 1', r"unknown key a\nb\x1b[2J"),
        ("name: edge", f"name: {'x' * 5000}", "characters): must start with"),
    ],
)  # fmt: skip
def test_every_number_has_a_range(old: str, new: str, said: str) -> None:
    assert said in refused(edited(old, new))


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("steps: 20", "steps: !!int abc", 5),
        ("seeds: 2", "seeds: !!map [1]", 6),
        ("t_min: 0.05", "t_min: !!float ''", 4),
        ("name: edge", "name: !mine edge", 2),
        ("name: edge", "name: ! edge", 2),
    ],
)
def test_tags_are_not_used(old: str, new: str, line: int) -> None:
    said = refused(edited(old, new))
    assert said.startswith(f"line {line}: tags such as ")


@pytest.mark.slow
def test_anchors_cannot_explode() -> None:
    tens = ["x0: &x0 [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"]
    tens += [f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert "line 5: holds more than 100,000 values" in refused("\n".join(tens) + STUDY)
    assert "an anchor that holds itself" in refused("x: &x [1, *x]" + STUDY)
    deep = ["x0: &x0 [1]", *(f"x{i}: &x{i} [*x{i - 1}]" for i in range(1, 40))]
    assert "nested deeper than 20" in refused("\n".join(deep) + STUDY)
    assert "nested deeper than 20" in refused("x: " + 5000 * "[" + STUDY)


def test_merge_keys_work() -> None:
    text = edited("base: {", "base: &b {") + (
        "sweeps:\n  - &a {samples: [16, 32]}\n  - {<<: *a, width: [32, 64]}\n"
        "  - {<<: [{step_size: 0.5}, {step_size: 9, samples: 8}], samples: 128}\n"
    )
    found = {(t.samples, t.width, t.step_size) for t in StudySpec.from_text(text).trials()}
    narrow = {(16, 32, 1.0), (32, 32, 1.0)}
    assert found == {(16, 64, 1.0), (32, 64, 1.0), (128, 64, 0.5)} | narrow
    assert "line 8: '<<' is given twice" in refused(STUDY + "sweeps: {<<: {width: 2}, <<: {}}")
    assert "<< takes the alias of a mapping" in refused(STUDY + "sweeps: {<<: 3}")
    assert "unknown key sweeps.<<" in refused(STUDY + 'sweeps: {"<<": 3}')


def test_a_large_file_is_no_study(tmp_path: Path) -> None:
    path = tmp_path / "data.yaml"
    path.write_text(STUDY)
    with path.open("r+b") as stream:
        stream.truncate(100 << 20)
    with pytest.raises(SpecError, match="is longer than 256 KiB"):
        StudySpec.load(path)
    with pytest.raises(SpecError, match="is longer than 256 KiB"):
        StudySpec.from_text(f"# {'x' * MAXIMUM_BYTES}\n{STUDY}")
    with pytest.raises(SpecError, match="cannot read"):
        StudySpec.load("a\0b")


def test_plan_and_run_refuse_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "study.yaml"
    path.write_text(edited("dimension: 2", "dimension: 1000000"))
    for command in ("plan", "run"):
        with pytest.raises(SystemExit) as ended:
            cli.main([command, str(path)])
        assert ended.value.code == 2
        assert "lower law.dimension" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


def test_what_fits_is_let_through_and_the_largest_counts() -> None:
    spec = StudySpec.from_text(edited("width: 64", "width: [64, 1024]"))
    points = spec.points()
    largest = max(memory_of([point]) for point in points)
    refuse_what_does_not_fit(points, largest)
    with pytest.raises(SpecError, match=r"this machine has .* lower"):
        refuse_what_does_not_fit(points, largest - 1)
    refuse_what_does_not_fit([], 0)
    assert machine_bytes() > 2**28
