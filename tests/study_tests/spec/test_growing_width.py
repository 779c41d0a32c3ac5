"""A width that is a multiple of the samples: what it may be, and the trials that it gives."""

from __future__ import annotations

from pathlib import Path

import pytest
from specs import problems

from study.cli import main
from study.spec.sections import StudySpec
from study.spec.strict_yaml import read_yaml, write_yaml

SPEC = """
name: growing
law: {kind: gaussian_mixture, dimension: 2, components: 3, std: 0.1, seed: 1}
steps: 100
seeds: 2
base: {samples: [64, 128, 256], width: WIDTH, step_size: 1.0}
"""


def spec(width: str) -> StudySpec:
    return StudySpec.from_text(SPEC.replace("WIDTH", width))


def sizes(width: str) -> list[tuple[int, float]]:
    return [(point.samples, point.width) for point in spec(width).points()]


@pytest.mark.parametrize("width", ["4N", "4 N", "'4N'", "4.0N", "[4N]"])
def test_a_multiple_is_a_whole_width_at_every_n(width: str) -> None:
    assert sizes(width) == [(64, 256), (128, 512), (256, 1024)]


def test_any_multiple_beside_any_width() -> None:
    assert sizes("N") == [(64, 64), (128, 128), (256, 256)]
    assert sizes("0.5N") == sizes(".5 N") == [(64, 32), (128, 64), (256, 128)]
    # exact: 0.1 * 30 is no 3 in floating point
    tenth = SPEC.replace("WIDTH", "0.1N").replace("64, 128, 256", "20, 60, 140")
    assert [p.width for p in StudySpec.from_text(tenth).points()] == [2, 6, 14]
    # a point that two widths give comes once
    assert sizes("[256, 4N, inf]") == [
        (64, 256), (64, float("inf")), (128, 256), (128, 512), (128, float("inf")),
        (256, 256), (256, 1024), (256, float("inf")),
    ]  # fmt: skip


def test_trials_are_those_of_the_width_written_out() -> None:
    """Shared with a sweep of fixed width, and trained once."""
    written = [
        StudySpec.from_text(
            SPEC.replace("[64, 128, 256]", str(n)).replace("WIDTH", str(4 * n))
        ).trials()
        for n in (64, 128, 256)
    ]
    ids = [trial.trial_id for trials in written for trial in trials]
    assert [trial.trial_id for trial in spec("4N").trials()] == ids
    both = SPEC.replace("WIDTH", "512") + "sweeps:\n  - width: 4N\n  - step_size: 1.0\n"
    trials = [trial.trial_id for trial in StudySpec.from_text(both).trials()]
    assert len(trials) == len(set(trials)) == 10
    assert set(ids) <= set(trials)


def test_kernel_seeds_stand_beside_each_n() -> None:
    text = SPEC.replace("WIDTH", "4N").replace("seeds: 2", "seeds: {network: 2, kernel: 5}")
    trials = StudySpec.from_text(text).trials()
    assert sum(trial.infinite for trial in trials) == 3 * 5


def test_it_is_written_as_it_is_read() -> None:
    data = read_yaml(SPEC.replace("WIDTH", "[1024, 4 N, 0.5N, N]"))
    again = read_yaml(write_yaml(data))
    assert again == data
    assert StudySpec.from_mapping(again).trials() == spec("[1024, 4 N, 0.5N, N]").trials()
    assert spec("[inf, 4 N]").base.model_dump(mode="json")["width"] == ["inf", "4N"]
    assert spec("[8, inf]").base.model_dump(mode="json")["width"] == [8, "inf"]


OR = "must be a whole number, inf, or a multiple of the samples such as 4N"


@pytest.mark.parametrize(
    ("width", "said"),
    [
        ("infN", f"base.width = 'infN': {OR}"),
        (".infN", f"base.width = '.infN': {OR}"),
        ("-4N", f"base.width = '-4N': {OR}"),
        ("4n", f"base.width = '4n': {OR}"),
        ("[8, 4M]", f"base.width[1] = '4M': {OR}"),
        ("2.5", f"base.width = 2.5: {OR}"),
        ("0.3N", "width = 0.3N is no whole number at samples = 64, 128, 256 (19.2 at the first)"),
        ("0N", "width = 0N is 0 at samples = 64, 128, 256: use a multiple above 0"),
        ("99999999N", "width = 99999999N is more than 1,073,741,824 neurons at samples = 64"),
        ("0.015625N", "width = 0.015625N is odd at samples = 64, and initialisation: symmetric"),
    ],
)
def test_what_is_no_width_is_refused_with_a_remedy(width: str, said: str) -> None:
    (problem,) = problems(SPEC.replace("WIDTH", width))
    assert said in problem


def test_plain_networks_may_be_odd() -> None:
    plain = SPEC.replace("WIDTH", "0.015625N, initialisation: plain")
    assert [point.width for point in StudySpec.from_text(plain).points()] == [1, 2, 4]


def test_one_message_for_all_sweeps_and_n() -> None:
    odd = SPEC.replace("WIDTH", "3N").replace("64,", "63, 65, 67, 69,")
    (problem,) = problems(odd + "sweeps:\n  - step_size: [1.0, 2.0]\n  - bias: true\n")
    assert problem.startswith("sweeps[0], sweeps[1]: width = 3N is odd at samples = 63, 65, 67 and")
    assert problem.endswith("use an even multiple such as 4N, or initialisation: plain")


def test_a_design_and_a_search_want_numbers() -> None:
    bare = SPEC.replace("seeds: 2\n", "").replace("WIDTH", "4N")
    design = "design: {kind: adaptive, half_width: {best_score_error: 1.0}, budget: {trials: 90}}"
    (problem,) = problems(bare + design)
    assert problem.startswith("base: width = 4N: design chooses seeds along samples at one width")
    searched = bare.replace("width: 4N, step_size: 1.0", "bias: true")
    space = "search: {space: {width: WIDTH, step_size: [1.0]}, theory: {width: PILOT}}"
    found = problems(searched + space.replace("WIDTH", "4N").replace("PILOT", "4N"))
    assert found == (
        "search.space.width = '4N': must be whole numbers from 1 to 1,073,741,824, or "
        "{low: ..., high: ...}",
        "search.theory.width = '4N': must be a whole number",
    )


@pytest.mark.parametrize("command", ["plan", "run"])
def test_the_command_line_says_it_with_exit_code_2(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "growing.yaml"
    path.write_text(SPEC.replace("WIDTH", "0.3N"), encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main([command, str(path)])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "width = 0.3N is no whole number" in " ".join(said.split())
    assert "Traceback" not in said
