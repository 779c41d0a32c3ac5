"""Studies from YAML: what they ask for, and what is said about those that cannot be run."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from specs import GOOD, edited, problems

from study import StudySpec
from study.spec.axes import AXES, Axes
from study.spec.messages import SpecError
from study.spec.sections import _sections
from study.spec.strict_yaml import YamlError, read_yaml, write_yaml
from trainers.laws import KINDS
from trainers.trial import Subspace

EXAMPLES = Path(__file__).parents[3] / "examples"


def seed_of(law: Any) -> int:
    return int(law.seed)


def test_a_study_is_the_union_of_its_sweeps_each_trial_once() -> None:
    trials = StudySpec.from_text(GOOD).trials()
    points = {(t.samples, t.width, t.step_size) for t in trials}
    line = {(n, 4096, 1.0) for n in (64, 128, 256, 512)}
    assert points == line | {(512, 64, 1.0), (512, 4096, 0.25), (512, 4096, 0.5)}
    assert len(trials) == 7 * 8 == len({t.trial_id for t in trials})
    assert {t.seed for t in trials} == set(range(8))


def test_a_sweep_is_a_full_factorial_and_lists_in_the_base_multiply_it() -> None:
    text = edited("width: 4096,", "width: [32, 64], initialisation: [plain, symmetric],")
    text = text[: text.index("sweeps")] + "sweeps: {samples: [8, 16], bias: [true, false]}\n"
    trials = StudySpec.from_text(text).trials()
    combinations = itertools.product((8, 16), (32, 64), ("plain", "symmetric"), (True, False))
    found = {(t.samples, t.width, t.initialisation, t.bias) for t in trials}
    assert found == set(combinations)
    assert len(trials) == 16 * 8


def test_without_sweeps_the_base_is_the_study() -> None:
    text = GOOD[: GOOD.index("sweeps")]
    assert len(StudySpec.from_text(text).trials()) == 8


def test_scalars_stand_for_lists_of_one() -> None:
    text = GOOD.replace("seeds: 8", "seeds: [3]").replace("[64, 128, 256, 512]", "64")
    trials = StudySpec.from_text(text).trials()
    assert {t.seed for t in trials} == {3}
    assert {t.samples for t in trials} == {64, 512}


def test_every_axis_reaches_the_trial() -> None:
    sweep = {
        "samples": 7,
        "width": 10,
        "step_size": 0.125,
        "initialisation": "plain",
        "bias": False,
        "dimension": 3,
        "t_min": 0.25,
        "copies": 5,
        "time_law": "log_snr",
        "weight": "eps",
        "steps": 17,
        "trainer": "adam",
    }
    assert set(sweep) == set(AXES) == set(Axes.model_fields)
    data = {**read_yaml(GOOD), "sweeps": sweep}
    trial = StudySpec.from_mapping(data).trials()[0]
    found = {axis: getattr(trial, axis) for axis in AXES if axis != "t_min"}
    assert {**found, "t_min": trial.diffusion.t_min} == sweep


def test_top_level_settings_reach_the_trial() -> None:
    text = GOOD + (
        "study_seed: 4\ntest_points: 100\nholdout_points: 50\nrecorded: 5\nprecision: float64\n"
        "kernel: true\ndecomposition: {norms: [1, 10]}\n"
    )
    text = text.replace("t_max: 1.0", "t_max: 2, schedule: linear, g_min: 0.5, g_max: 3")
    trial = StudySpec.from_text(text).trials()[0]
    assert (trial.study_seed, trial.test_points, trial.holdout_points) == (4, 100, 50)
    assert (trial.recorded, trial.precision, trial.norms) == (5, "float64", (1.0, 10.0))
    process = trial.diffusion
    assert (process.t_max, process.schedule, process.g_min, process.g_max) == (2, "linear", 0.5, 3)


def test_several_laws_and_lists_of_their_parameters() -> None:
    laws = "[{kind: cube, dimension: 2}, {kind: sphere, dimension: 2, radius: [1, 2]}]"
    text = edited("{kind: gaussian_mixture, dimension: 2, components: 8, std: 0.1, seed: 5}", laws)
    labels = {t.law.label for t in StudySpec.from_text(text).trials()}
    assert labels == {"cube", "sphere[radius=1.0]", "sphere[radius=2.0]"}


def test_draws_of_a_sweep_are_for_it_alone() -> None:
    text = """
name: drawn
law: [{kind: atoms, dimension: 2, seed: 5}, {kind: gaussian_mixture, dimension: 2, seed: 7}]
base: {samples: 64, width: 8, step_size: 1.0}
sweeps:
  - samples: [16, 32]
  - {samples: [16, 64], width: .inf, draws: DRAWS}
"""
    trials = StudySpec.from_text(text.replace("DRAWS", "3")).trials()
    seeds: dict[tuple[str, bool], set[int]] = {}
    for t in trials:
        seeds.setdefault((t.law.kind, t.infinite), set()).add(seed_of(t.law))
    assert seeds["atoms", False] == {5}
    assert seeds["atoms", True] == {5, 6, 7}
    assert seeds["gaussian_mixture", True] == {7, 8, 9}
    assert len(trials) == 2 * (2 + 2 * 3)
    for draws, law, message in (
        ("0", "seed: 5", "sweeps[1].draws = 0: must be at least 1"),
        ("20000", "seed: 5", "sweeps[1].draws = 20000: must be at most 10,000"),
        ("3", f"seed: {2**63 - 1}", "sweeps[1].draws: the seeds from 9,223,372,036,854,775,807 on"),
    ):
        with pytest.raises(SpecError) as error:
            StudySpec.from_text(text.replace("DRAWS", draws).replace("seed: 5", law))
        assert message in str(error.value)
    cube = text.replace("{kind: atoms, dimension: 2, seed: 5}", "{kind: cube, dimension: 2}")
    with pytest.raises(SpecError, match="cube has no seed that it could be drawn from again"):
        StudySpec.from_text(cube.replace("DRAWS", "2"))


def test_every_kind_of_law_is_read_and_embedded() -> None:
    given = "{kind: gaussian_mixture, dimension: 2, components: 8, std: 0.1, seed: 5}"
    for kind in KINDS:
        law = f"{{kind: {kind}, dimension: 2}}"
        plain = StudySpec.from_text(edited(given, law)).law[0]
        deep = StudySpec.from_text(
            edited(given, f"{{kind: subspace, dimension: 3, inner: {law}}}")
        ).law[0]
        assert isinstance(plain, KINDS[kind])
        assert isinstance(deep, Subspace)
        assert deep.inner == plain


@pytest.mark.parametrize(
    ("law", "said"),
    [
        ("{kind: gaussian, dimension: 2, power: 9}", "law.power = 9: must be at most 8"),
        ("{kind: gaussian, dimension: 2, pwoer: 1}", "law.pwoer: did you mean power?"),
        ("{kind: gaussian, dimension: 2, draws: 3}", "law.draws: gaussian has no seed"),
        ("{kind: scale_mixture, dimension: 2, std_min: 2}", "law.std_min = 2 must not be above"),
        (
            "{kind: scale_mixture, dimension: 2, components: 1}",
            "components = 1: must be at least 2",
        ),
    ],
)
def test_laws_say_what_is_wrong_with_them(law: str, said: str) -> None:
    given = "{kind: gaussian_mixture, dimension: 2, components: 8, std: 0.1, seed: 5}"
    assert said in "\n".join(problems(edited(given, law)))


def test_draws_are_laws_with_seeds_in_a_row() -> None:
    text = edited("std: 0.1, seed: 5}", "std: 0.1, seed: 5, draws: 3}")
    spec = StudySpec.from_text(text)
    assert [seed_of(law) for law in spec.law] == [5, 6, 7]
    one = [t.trial_id for t in StudySpec.from_text(GOOD).trials()]
    assert set(one) < {t.trial_id for t in spec.trials()}
    for wrong, told in (
        (
            "std: 0.1, seed: 5, draws: 0}",
            "law.draws must be a whole number from 1 to 10,000, not 0",
        ),
        ("std: 0.1, seed: 5, draws: true}", "law.draws must be a whole number"),
        ("std: 0.1, seed: [1, 2], draws: 3}", "give one seed, or remove draws"),
    ):
        assert any(told in p for p in problems(edited("std: 0.1, seed: 5}", wrong)))
    cube = edited(
        "{kind: gaussian_mixture, dimension: 2, components: 8, std: 0.1, seed: 5}",
        "{kind: cube, dimension: 2, draws: 3}",
    )
    assert any("cube has no seed" in p for p in problems(cube))


def test_the_dimension_axis_stands_in_for_the_laws() -> None:
    text = edited("dimension: 2, ", "").replace("base: {", "base: {dimension: [1, 4], ")
    assert {t.dimension for t in StudySpec.from_text(text).trials()} == {1, 4}


def test_name_and_description_decide_no_numbers() -> None:
    other = StudySpec.from_text(edited("name: quick", "name: other\ndescription: words"))
    assert other.trials() == StudySpec.from_text(GOOD).trials()


@pytest.mark.slow
@given(
    st.lists(st.sampled_from([4, 8, 16, 32]), min_size=1, max_size=5),
    st.lists(st.sampled_from([2, 6, 10]), min_size=1, max_size=4),
    st.integers(1, 3),
)
def test_the_union_counts_every_point_once(samples: list[int], width: list[int], n: int) -> None:
    data = {
        "name": "x",
        "law": {"kind": "cube", "dimension": 1},
        "seeds": n,
        "base": {"samples": 8, "width": 6, "step_size": 1},
        "sweeps": [{"samples": samples}, {"width": width}, {"samples": samples, "width": width}],
    }
    found = [(t.samples, t.width, t.seed) for t in StudySpec.from_mapping(data).trials()]
    points = {(a, 6) for a in samples} | {(8, b) for b in width}
    points |= set(itertools.product(samples, width))
    assert len(found) == len(set(found))
    assert set(found) == {(*point, seed) for point in points for seed in range(n)}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("samples: 512", "sampels: 512", "unknown key base.sampels: did you mean samples?"),
        ("seeds: 8", "samples: 3", "unknown key samples: did you mean base.samples?"),
        ("seeds: 8", "sede: 3", "unknown key sede: did you mean seeds?"),
        ("std: 0.1", "stdd: 0.1", "unknown key law.stdd: did you mean std?"),
        ("t_max: 1.0", "tmax: 1.0", "unknown key diffusion.tmax: did you mean t_max?"),
        ("seeds: 8", "resources: {worker: 1}", "resources.worker: did you mean workers?"),
        ("seeds: 8", "text: x", "unknown key text: known here are name, description"),
        ("seeds: 8", "seeds:", "seeds is empty: give it a value, or remove the key"),
        ("seeds: 8", "seeds: 0", "seeds = 0: must be a number of seeds of at least 1"),
        ("seeds: 8", "seeds: 10000000000", "must be at most 100,000 seeds"),
        ("seeds: 8", "seeds: [1, -1]", "seeds[1] = -1: must be at least 0"),
        ("seeds: 8", "seeds: [1, 1]", "seeds names a seed twice"),
        ("seeds: 8", "seeds: {network: 8, kernel: 0}", "seeds.kernel = 0: must be a number of"),
        ("seeds: 8", "seeds: {network: [1, true]}", "seeds.network[1] = true: must be a whole"),
        ("seeds: 8", "seeds: {network: 8, kernel: 4}", "seeds.kernel = 4: must hold every seed of"),
        ("seeds: 8", "seeds: {network: 8, kernel: 8}", "seeds.network, and more: give a number"),
        ("seeds: 8", "seeds: {network: [3], kernel: [4, 5]}", "seeds.kernel must hold every seed"),
        ("seeds: 8", "seeds: {network: 8, kernel: [1, 1]}", "seeds.kernel names a seed twice"),
        ("seeds: 8", "seeds: {kernel: 64}", "seeds.network is missing"),
        ("seeds: 8", "seeds: {network: 8, kernels: 64}", "unknown key seeds.kernels: did you mean"),
        ("seeds: 8", "seeds: {network: 8, kernel: 100000}", "trials, more than 100,000"),
        ("samples: 512", "samples: []", "base.samples is an empty list"),
        ("[0.25, 0.5, 1.0]", "[0.25, -1]", "sweeps[2].step_size[1] = -1: must be at least 1e-12"),
        ("samples: 512", "samples: 512, trainer: adma", "use one of descent, sgd, adam, mlp_adamw"),
        ("samples: 512", "samples: 512, trainer: 'my.own:T'", "is no file of a module my.own"),
        ("samples: 512", "samples: 2.5", "base.samples = 2.5: must be a whole number"),
        (
            "samples: 512",
            "samples: 512, copies: many",
            "base.copies = 'many': must be a whole number, or fresh",
        ),
        ("samples: 512", "samples: 512, copies: 0", "base.copies = 0: must be at least 1"),
        ("samples: 512", "samples: 512, time_law: cosine", "must be one of uniform, log_uniform"),
        ("samples: 512", "samples: 512, weight: snr", "did you mean min_snr"),
        ("width: 4096", "width: inf, copies: fresh", "copies: fresh has none"),
        ("width: 4096", "width: wide", "base.width = 'wide': must be a whole number, inf, or a"),
        ("samples: 512", "samples: true", "base.samples = true: must be a whole number"),
        ("samples: 512", "samples: '512'", "base.samples = '512': must be a whole number"),
        ("step_size: 1.0", "step_size: .nan", "base.step_size = nan: must be"),
        ("step_size: 1.0", "step_size: yes", "base.step_size = 'yes': must be a number"),
        ("seeds: 8", "kernel: no", "kernel = 'no': must be true or false"),
        ("seeds: 8", "device: gpu", "device = 'gpu': must be one of auto, cpu, cuda, mixed"),
        (
            "seeds: 8",
            "theories: [hrx, hrz]",
            "theories cannot be judged: no theory is called 'hrz': choose among hrx, ",
        ),
        ("seeds: 8", "stopping: [orcle]", "stopping[0] = 'orcle': must be one of oracle"),
        ("width: 4096,", "width: 63,", "width = 63 is odd"),
        ("width: 4096, ", "", "base.width is missing (sweeps[0], sweeps[2] does not set it)"),
        ("t_min: 0.05", "t_min: 0", "diffusion.t_min = 0: must be at least 1e-08"),
        ("t_min: 0.05", "t_min: 1.0", "t_min = 1 must be below diffusion.t_max = 1"),
        ("base: {", "base: {steps: 3, ", "steps and base.steps are both given: keep one"),
        ("base: {", "base: {t_min: 0.1, ", "diffusion.t_min and base.t_min are both given"),
        ("  - width: [64, 4096]", "  - {}", "sweeps[1] is empty"),
        ("kind: gaussian_mixture", "kind: gausian_mixture", "did you mean gaussian_mixture?"),
        ("kind: gaussian_mixture, ", "", "sphere, subspace"),
        ("dimension: 2", "dimension: 0", "law.dimension = 0: must be at least 1"),
        ("dimension: 2, ", "", "law.dimension is missing: give law.dimension, or base.dimension"),
        ("std: 0.1", "std: -1", "law.std = -1: must be at least 1e-06"),
        ("law:", "laws:", "law is missing"),
        ("name: quick", "name: ../other", "name = '../other': must start with a letter or digit"),
        ("name: quick", "name: a/b", "it names a folder"),
        ("name: quick", "name: 7", "name = 7: must be text; put quotes around it"),
        ("- width:", "- seeds: 0\n    width:", "sweeps[1].seeds = 0: must be a number of seeds"),
        ("- width:", "- seeds: {kernels: 9}\n    width:", "did you mean kernel?"),
        ("seeds: 8", "decomposition: {norms: [3, 1]}", "decomposition.norms must rise"),
        ("seeds: 8", "seeds: 9\nseeds: 8", "'seeds' is given twice in the same place"),
        ("seeds: 8", "seeds: [1", "line 6"),
    ],
)
def test_wrong_input_is_answered_with_key_and_remedy(old: str, new: str, said: str) -> None:
    assert said in "\n".join(problems(edited(old, new)))


def test_kernel_seeds_stand_beside_every_network() -> None:
    """A trial of infinite width for every point's data and each of the kernel's seeds, once."""
    plain = StudySpec.from_text(edited("seeds: 8", "seeds: 3")).trials()
    both = StudySpec.from_text(edited("seeds: 8", "seeds: {network: 3, kernel: 10}")).trials()
    assert both[: len(plain)] == plain  # the same trials, the same ids: nothing is trained again
    limits = both[len(plain) :]
    assert all(trial.infinite for trial in limits)
    assert not any(trial.infinite for trial in plain)
    keys = [(t.samples, t.step_size, t.seed) for t in limits]
    assert len(keys) == len(set(keys))
    assert set(keys) == {(t.samples, t.step_size, seed) for t in plain for seed in range(10)}
    assert {t.data_id for t in plain} <= {t.data_id for t in limits}
    explicit = edited("seeds: 8", "seeds: 10").replace("width: 4096,", "width: .inf,")
    assert {t.trial_id for t in limits if t.step_size == 1.0 and t.samples == 512} <= {
        t.trial_id for t in StudySpec.from_text(explicit).trials()
    }


def test_a_sweep_has_seeds_of_its_own() -> None:
    """Levels that two sweeps share have the seeds of both; the other sweeps keep the study's."""
    data: dict[str, Any] = {
        "name": "x",
        "law": {"kind": "cube", "dimension": 1},
        "seeds": 2,
        "base": {"samples": 8, "width": 4, "step_size": 1},
        "sweeps": [
            {"samples": [8, 16]},
            {"samples": [16, 32], "seeds": [1, 5]},
            {"samples": 8, "width": math.inf, "seeds": 3},
            {"width": 6, "seeds": {"network": 1, "kernel": 4}},
        ],
    }
    trials = StudySpec.from_mapping(data).trials()
    assert [(t.samples, t.width, t.seed) for t in trials] == [
        (8, 4, 0), (8, 4, 1), (16, 4, 0), (16, 4, 1), (16, 4, 5), (32, 4, 1), (32, 4, 5),
        *((8, math.inf, seed) for seed in range(3)), (8, 6, 0), (8, math.inf, 3),
    ]  # fmt: skip
    del data["seeds"]
    data["design"] = {
        "kind": "adaptive",
        "half_width": {"best_score_error": 0.1},
        "budget": {"trials": 10},
    }
    data["sweeps"] = [{"samples": [8, 16, 32], "seeds": 3}]
    with pytest.raises(SpecError, match="seeds is of no use beside design"):
        StudySpec.from_mapping(data)


def test_networks_of_any_trainer_and_start_have_the_limit_of_descent_from_zero() -> None:
    data = {
        "name": "x",
        "law": {"kind": "cube", "dimension": 1},
        "seeds": {"network": [2, 5], "kernel": 6},
        "base": {
            "samples": [8, 16], "width": [4, 7], "step_size": 1,
            "initialisation": "plain", "trainer": ["descent", "adam"],
        },
    }  # fmt: skip
    trials = StudySpec.from_mapping(data).trials()
    limits = [t for t in trials if t.infinite]
    assert len(trials) - len(limits) == 2 * 2 * 2 * 2
    assert len(limits) == 2 * 6
    assert {(t.initialisation, t.trainer) for t in limits} == {("symmetric", "kernel_limit")}


def test_infinite_width_among_the_axes_has_the_kernels_seeds() -> None:
    data: dict[str, Any] = {
        "name": "x",
        "law": {"kind": "cube", "dimension": 1},
        "seeds": {"network": 2, "kernel": 6},
        "base": {"samples": 8, "width": [4, math.inf], "step_size": 1},
    }
    trials = StudySpec.from_mapping(data).trials()
    assert sorted((t.width, t.seed) for t in trials) == [
        (4, 0), (4, 1), *((math.inf, seed) for seed in range(6)),
    ]  # fmt: skip
    data["seeds"] = 2
    assert len(StudySpec.from_mapping(data).trials()) == 4


def test_all_problems_of_a_file_are_told_at_once() -> None:
    text = GOOD.replace("samples: 512", "sampels: 512").replace("std: 0.1", "std: 0")
    text = text.replace("seeds: 8", "seeds:").replace("steps: 1000", "steps: -3")
    found = problems(text)
    assert len(found) == 4
    for said in ("seeds is empty", "law.std = 0", "unknown key base.sampels", "steps = -3"):
        assert sum(said in problem for problem in found) == 1


def test_a_trial_level_problem_is_told_once_with_its_sweeps() -> None:
    (found,) = problems(edited("width: 4096,", "width: 63,"))
    assert found.startswith("sweeps[0], sweeps[2]: width = 63 is odd")


@pytest.mark.parametrize("text", ["", "[1, 2]", "3", "just words"])
def test_what_is_no_mapping_is_no_study(text: str) -> None:
    assert "a study is a mapping" in problems(text)[0]


def test_a_study_too_large_to_list_is_refused() -> None:
    many = ", ".join(str(n) for n in range(2, 6002, 2))
    text = edited("- samples: [64, 128, 256, 512]", f"- {{samples: [{many}], width: [{many}]}}")
    assert "asks for 72,000,040 trials" in problems(text)[0]


def test_the_examples_are_valid() -> None:
    quick = StudySpec.load(EXAMPLES / "quickstart.yaml")
    assert len(quick.trials()) >= 250
    assert {t.law.kind for t in quick.trials()} == {"gaussian_mixture", "atoms"}
    networks = [t for t in quick.trials() if not t.infinite]
    assert {t.samples for t in networks} == {2**i for i in range(6, 12)}
    assert {t.width for t in networks} == {2**i for i in range(8, 16)}
    assert {seed_of(t.law) for t in networks} == {5}
    assert {t.samples for t in quick.trials() if t.infinite} == {2**i for i in range(6, 12)}
    assert {seed_of(t.law) for t in quick.trials() if t.infinite} == set(range(5, 15))
    dimension = StudySpec.load(EXAMPLES / "dimension.yaml")
    networks = [t for t in dimension.trials() if not t.infinite]
    assert {t.width for t in networks if t.dimension <= 4} == {1024}
    ratios = {(t.dimension, t.width / t.samples) for t in networks if t.dimension > 4}
    assert ratios == {(8, 4), (16, 16)}
    for infinite in (False, True):
        kept = [t for t in dimension.trials() if t.infinite == infinite]
        assert {t.dimension for t in kept} == {1, 2, 4, 8, 16}
        assert {t.samples for t in kept} == {2**i for i in range(6, 13)}


def test_suggestions_know_every_section() -> None:
    top = {
        "",
        "seeds",
        "base",
        "sweeps",
        "diffusion",
        "decomposition",
        "resources",
        "design",
        "keep",
        "quality",
        "predictions",
        "search",
    }
    assert top == {name for name in _sections() if "." not in name}


def test_numbers_and_words_read_as_a_researcher_means_them() -> None:
    text = "a: 1e-3\nb: 1e3\nc: no\nd: 010\ne: 1:30\nf: 100_000\ng: 1.5e3\nh: true\ni: -.5\n1: x"
    assert read_yaml(text) == {
        "a": 0.001,
        "b": 1000,
        "c": "no",
        "d": 10,
        "e": "1:30",
        "f": 100_000,
        "g": 1500,
        "h": True,
        "i": -0.5,
        "1": "x",
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3", "line 3: 'a' is given twice in the same place (first on line 1)"),
        ("a: [1,\n", "line 2"),
        ("a:\n\t- 1", "line 2"),
        ("a: !!python/object:os.system x", "line 1"),
        ("a: &x [*x]", "line 1"),
        ("? [1]\n: 2", "a key must be a single word"),
        ("[" * 3000, "nested deeper"),
        ("\x00", "unacceptable character"),
    ],
)
def test_yaml_that_is_refused(text: str, said: str) -> None:
    with pytest.raises(YamlError) as raised:
        read_yaml(text)
    assert said in str(raised.value)


# --- infinite width -------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["inf", ".inf", "'inf'"])
def test_the_kernel_limit_is_a_value_of_the_width(written: str) -> None:
    spec = StudySpec.from_text(
        "name: s\nlaw: {kind: cube, dimension: 2}\nseeds: 2\n"
        f"base: {{samples: [8, 16], width: [4, {written}], step_size: 1.0}}\n"
    )
    trials = spec.trials()
    assert len(trials) == 8
    assert sum(trial.infinite for trial in trials) == 4
    assert {type(trial.width) for trial in trials if not trial.infinite} == {int}


def test_what_cannot_matter_at_infinite_width_makes_no_further_trials() -> None:
    spec = StudySpec.from_text(
        "name: s\nlaw: {kind: cube, dimension: 2}\n"
        "base: {samples: 8, width: [4, inf], step_size: 1.0, steps: [10, 20]}\n"
    )
    assert [trial.infinite for trial in spec.trials()] == [False, False, True]


def test_what_contradicts_infinite_width_names_the_remedy() -> None:
    text = (
        "name: s\nlaw: {kind: cube, dimension: 2}\n"
        "base: {samples: 8, width: [4, inf], step_size: 1.0, initialisation: plain}\n"
    )
    with pytest.raises(SpecError, match="leave inf out of width"):
        StudySpec.from_text(text)


@pytest.mark.parametrize(
    "value",
    [
        "1e3",
        "1_000",
        "010",
        "1:30",
        "no",
        "true",
        "~",
        "",
        "a b",
        ".5",
        "- x",
        "# y",
        1e-5,
        3,
        None,
    ],
)
def test_what_is_written_is_read_as_the_same(value: object) -> None:
    assert read_yaml(write_yaml({"key": value, "list": [value]})) == {"key": value, "list": [value]}
