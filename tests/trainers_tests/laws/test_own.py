"""A law of one's own: what it is known by, its numbers by both routes, and wrong ones."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_laws import TEXT
from own_laws import own_laws as own_laws
from pydantic import ValidationError

from trainers.laws import Distribution, LawError, OwnLaw, make_distribution, own_class
from trainers.laws.kinds.gaussian import Gaussian
from trainers.laws.mixture import MixtureOfNormals
from trainers.laws.own.check import check_own_law
from trainers.laws.own.law import DRAWN, OwnDistribution
from trainers.own_files import OwnClass
from trainers.problem.evaluation import posterior_variance
from trainers.trial import Cube, TrialConfig

TIMES = [(t, math.exp(-t / 2), -math.expm1(-t)) for t in (0.005, 0.05, 0.2, 1.0)]


def law(name: str, dimension: int = 3, **parameters: Any) -> OwnLaw:
    kind = f"mine:{name}"
    return OwnLaw(
        kind=kind, dimension=dimension, source_sha256=own_class(kind).sha256(), **parameters
    )


def trial(of: Any) -> TrialConfig:
    return TrialConfig(law=of, samples=16, width=4, step_size=1.0)


# --- what it is known by --------------------------------------------------------------------------


def test_an_edited_file_and_other_parameters_are_other_laws(own_laws: Path) -> None:
    first = trial(law("Normal"))
    others = [trial(law("Sampled")), trial(law("Normal", std=2)), trial(law("Normal", 2))]
    (own_laws / "mine.py").write_text(f"{TEXT}# edited\n")
    others.append(trial(law("Normal")))
    assert len({one.law_id for one in [first, *others]}) == 5
    assert len({one.trial_id for one in [first, *others]}) == 5
    (own_laws / "deeper").mkdir()
    (own_laws / "mine.py").write_text(TEXT)
    assert trial(law("Normal")).law_id == first.law_id
    assert trial(law("Normal", std=2.0)).law_id == others[1].law_id
    with pytest.raises(LawError, match=r"mine\.py is not the file that the study was planned with"):
        others[-1].law.terms  # noqa: B018


def test_its_id_stays_as_it_is() -> None:
    own = OwnLaw(kind="mine:Normal", dimension=3, source_sha256="0" * 64, std=2.0, seed=1, far=True)
    assert trial(own).law_id == "98565d62cfe0f613"
    assert own.label == "mine:Normal[far=true,seed=1,std=2]"
    assert OwnLaw(kind="a.b:C", dimension=1, source_sha256="0" * 64).label == "a.b:C"


def test_a_trial_of_it_survives_json_and_pickle(own_laws: Path) -> None:
    one = trial(law("Centres", seed=3))
    assert TrialConfig.model_validate(one.model_dump(mode="json")).trial_id == one.trial_id
    assert TrialConfig.model_validate_json(one.model_dump_json()).law == one.law
    assert pickle.loads(pickle.dumps(one)).trial_id == one.trial_id
    assert one.changed(samples=32).law == one.law
    assert one.law.model_copy(update={"seed": 4}).label == "mine:Centres[seed=4]"


def test_keys_that_a_class_cannot_have_as_they_are(own_laws: Path) -> None:
    for value in ([1], {"a": 1}, None):
        with pytest.raises(ValidationError, match="must be a number, text, true or false"):
            trial(law("Normal", std=value))
    with pytest.raises(ValidationError, match=r"law\.std must be a finite number"):
        law("Normal", std=math.inf)


# --- its numbers ----------------------------------------------------------------------------------


@pytest.fixture
def points() -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    h = rng.uniform(0.05, 0.9, 9000)
    return rng.standard_normal((9000, 3)), np.sqrt(1 - h), h


def test_the_exact_gaussian_has_the_numbers_of_the_shipped_one(
    own_laws: Path, points: tuple[Any, Any, Any]
) -> None:
    shipped = make_distribution(Gaussian(dimension=3, power=1.5, std=0.8))
    own = make_distribution(law("Exact", power=1.5, std=0.8))
    for name in ("posterior_mean", "posterior_variance"):
        wanted, found = getattr(shipped, name)(*points), getattr(own, name)(*points)
        np.testing.assert_allclose(found, wanted, rtol=1e-13)
    assert own.second_moment == shipped.second_moment
    assert own.support_radius == shipped.support_radius
    assert np.isnan(own.log_marginal(*points)).all()
    rng, again = np.random.default_rng(1), np.random.default_rng(1)
    np.testing.assert_allclose(own.sample(50, rng), shipped.sample(50, again))


@pytest.mark.parametrize(("name", "source"), [("Exact", "exact"), ("Normal", "simulated")])
def test_the_mean_posterior_variance_is_the_shipped_ones(
    own_laws: Path, name: str, source: str
) -> None:
    one, gaussian = trial(law(name)), trial(Gaussian(dimension=3))
    own = make_distribution(one.law)
    wanted = posterior_variance(gaussian, make_distribution(gaussian.law))
    assert posterior_variance(one, own) == pytest.approx(wanted, rel=0.01)
    assert own.noise_source == source
    assert own.second_moment == pytest.approx(1 + 1 / 2 + 1 / 3, rel=0.02)
    assert np.isnan(own.support_radius) == (name == "Normal")


def test_draws_that_fill_the_law(own_laws: Path) -> None:
    own = make_distribution(law("Normal"))
    u = np.random.default_rng(2).random((20_000, own.uniforms))
    x0 = own.transform(u)
    np.testing.assert_array_equal(own.transform(u), x0)
    np.testing.assert_allclose(x0.var(axis=0), [1, 1 / 2, 1 / 3], rtol=0.05)
    assert not np.array_equal(own.transform(u[::-1]), x0)


def test_without_a_posterior_mean_it_is_uniform_on_draws(
    own_laws: Path, points: tuple[Any, Any, Any]
) -> None:
    sampled, x = law("Sampled"), points[0][:200]
    own = make_distribution(sampled)
    assert isinstance(own, MixtureOfNormals)
    assert (own.means.shape, sampled.terms) == ((DRAWN, 3), DRAWN)
    assert own.support_radius == np.linalg.norm(own.means, axis=1).max()
    np.testing.assert_array_equal(make_distribution(sampled).means, own.means)  # type: ignore[attr-defined]
    # so many draws are near the law that they are of
    exact = make_distribution(Gaussian(dimension=3)).posterior_mean(x, 0.7, 0.51)
    assert np.square(own.posterior_mean(x, 0.7, 0.51) - exact).mean() < 3e-3
    assert law("Normal").terms == 1
    assert law("Normal").held_values == 0 < sampled.held_values


def test_a_seed_draws_the_law_anew(own_laws: Path) -> None:
    laws: list[Any] = [make_distribution(law("Centres", seed=seed)) for seed in (0, 0, 1)]
    assert np.array_equal(laws[0].means, laws[1].means)
    assert not np.allclose(laws[0].means, laws[2].means)


def test_another_process_has_the_same_law(own_laws: Path) -> None:
    file = own_laws / "law.pickle"
    file.write_bytes(pickle.dumps((law("Sampled"), law("Sampled").source_sha256)))
    code = (
        "import pickle, sys; from pathlib import Path; from trainers.own_files import place;"
        "from trainers.laws import make_distribution;"
        f"place((('mine', Path({str(own_laws / 'mine.py')!r}).read_bytes()),));"
        f"law, _ = pickle.loads(Path({str(file)!r}).read_bytes());"
        "print(repr(float(make_distribution(law).means.sum())))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/"
    )
    assert float(done.stdout) == pytest.approx(make_distribution(law("Sampled")).means.sum())  # type: ignore[attr-defined]


# --- checked before anything trains ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["Sampled", "Normal", "Exact", "Centres"])
@pytest.mark.parametrize("dimension", [1, 3, 40])
def test_right_laws_pass(own_laws: Path, name: str, dimension: int) -> None:
    check_own_law(law(name, dimension), TIMES)


@pytest.mark.parametrize("shipped", ["two points", "cube", "scales"])
def test_a_right_posterior_mean_passes_whatever_the_law(
    own_laws: Path, shipped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nearly all of X_0 - f* is 0, and where it is scattered widely."""
    from trainers.laws.kinds.atoms import Atoms
    from trainers.laws.kinds.scale_mixture import ScaleMixture

    laws: dict[str, Any] = {
        "two points": Atoms(dimension=1, count=2, seed=1), "cube": Cube(dimension=2),
        "scales": ScaleMixture(dimension=2),
    }  # fmt: skip
    known: Distribution = make_distribution(laws[shipped])

    class Own:
        def __init__(self, dimension: int) -> None:
            pass

        sample = staticmethod(known.sample)
        posterior_mean = staticmethod(known.posterior_mean)
        posterior_variance = staticmethod(known.posterior_variance)

    monkeypatch.setattr(OwnClass, "load", lambda *_: Own)
    check_own_law(law("Normal", known.dimension), TIMES)


WRONG = {
    "more noise": ("Normal", ", h = alpha[:, None], ", ", h = alpha[:, None], 1.15 * "),
    "no alpha": ("Normal", "return a * self.v / (", "return self.v / ("),
    "another law": ("Normal", "rng.standard_normal(", "rng.laplace(scale=0.5**0.5, size="),
    "mean squared": ("Exact", "return (self.v * h / (a**2 * self.v + h)).sum(axis=1)",
                     "return (self.v * h / (a**2 * self.v + h)).mean(axis=1)"),
}  # fmt: skip


def test_every_coordinate_is_looked_at(own_laws: Path) -> None:
    """Of a symmetric law of independent coordinates only x_40 itself tells that f*_40 is wrong."""
    right = "self.v / (a**2 * self.v + h) * x"
    assert right in TEXT
    (own_laws / "mine.py").write_text(
        TEXT.replace(right, f"{right} * (np.arange(x.shape[1]) < 39)")
    )
    with pytest.raises(LawError, match="posterior_mean is not E"):
        check_own_law(law("Normal", 40, power=0), TIMES)


@pytest.mark.parametrize("how", WRONG)
def test_a_wrong_posterior_is_told_with_its_time(own_laws: Path, how: str) -> None:
    name, right, wrong = WRONG[how]
    assert right in TEXT
    (own_laws / "mine.py").write_text(TEXT.replace(right, wrong))
    method = "posterior_variance" if name == "Exact" else "posterior_mean"
    with pytest.raises(LawError, match=rf"law.kind mine:{name}: {method} is not .*t = 0\.\d+ \("):
        check_own_law(law(name), TIMES)


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("def sample(", "def draw(", r"has no sample\(self, n, rng\)"),
        ("(n, len(self.v))", "(n, 2)", r"sample raised ValueError: .*\(mine\.py, line 12\)"),
        ("return np.sqrt(self.v) * rng", "return 0.5 * rng.uniform() * rng",
         "posterior_mean is not E"),
        ("return np.sqrt", "return rng.normal(size=n)\n        return np.sqrt",
         r"sample returned the shape \[64\] where \[n, d\] is \[64, 3\]"),
        ("return np.sqrt(self.v) *", "return np.nan *", "sample returned numbers that are not fin"),
        ("return np.sqrt(self.v) * rng", "return 'x'\n        return rng", "str, not numbers"),
        ("rng.standard_normal((", "np.random.standard_normal((", "other draws from the same gen"),
        ("return a * self.v", "return x[:, :1]\n        return a * self.v",
         r"posterior_mean returned the shape \[4096, 1\] where"),
        ("+ h) * x", "+ h) * x / np.where(x > 2, np.nan, 1)",
         "posterior_mean returned numbers that are not finite, first at x"),
        ("a, h = alpha[:, None], h", "a, h = alpha, h",
         r"broadcast together .*\(mine\.py, line 18\).*write alpha\[:, None\]"),
        ("support_radius = np.inf", "support_radius = 0.5", "support_radius = 0.5, but a draw has"),
        ("self.v.sum()", "self.v.sum() / 2", "second_moment = 0.9167, but "),
        ("self.v.sum()", "self.v.sum", "second_moment is builtin_function_or_method, not a num"),
        ("a, h = alpha[:, None], h[:, None]", "a, h = alpha[0], h[0]",
         "posterior_mean gave a row other numbers beside rows of other times"),
    ],
)  # fmt: skip
def test_what_a_method_returns(own_laws: Path, right: str, wrong: str, said: str) -> None:
    assert right in TEXT
    (own_laws / "mine.py").write_text(TEXT.replace(right, wrong, 1))
    name = "Exact" if "Exact" in TEXT[: TEXT.index(right)] else "Normal"
    with pytest.raises(LawError, match=said):
        check_own_law(law(name), TIMES)


def test_a_class_that_cannot_be_made(own_laws: Path) -> None:
    said = r"could not be made with dimension = 3, sdt = 2: TypeError: .*'sdt'; correct these keys"
    with pytest.raises(LawError, match=said):
        check_own_law(law("Normal", sdt=2), TIMES)
    (own_laws / "mine.py").write_text(TEXT.replace("self.v =", "raise OSError('no table')\n#"))
    with pytest.raises(LawError, match=r"OSError: no table \(mine\.py, line 9\)"):
        check_own_law(law("Normal"), TIMES)
    (own_laws / "mine.py").write_text(f"{TEXT}\nimport nothing_of_that_name\n")
    with pytest.raises(LawError, match=r"mine\.py: ModuleNotFoundError: No module named"):
        check_own_law(law("Normal"), TIMES)


def test_the_skeleton_is_a_law(own_laws: Path) -> None:
    from trainers.laws.own import skeleton

    (own_laws / "mine.py").write_text(Path(skeleton.__file__).read_text())
    check_own_law(law("Mine", radius=2), TIMES)
    lengths = np.linalg.norm(make_distribution(law("Mine", radius=2)).means, axis=1)  # type: ignore[attr-defined]
    assert lengths.mean() == pytest.approx(2, rel=0.01)
    text = Path(skeleton.__file__).read_text()
    lines = text.split("of N(0, s^2 I) it is:\n    #\n")[1].splitlines()
    method = "\n".join(line.replace("    #     ", "    ", 1) for line in lines)
    normal = method.replace("self.s", "1.0")
    head, _, rest = TEXT.partition("class Normal(Sampled):\n")
    (own_laws / "mine.py").write_text(f"{head}class Normal(Sampled):\n{normal}\n")
    check_own_law(law("Normal", power=0), TIMES)
    assert rest


def test_a_distribution_asks_in_blocks(own_laws: Path, points: tuple[Any, Any, Any]) -> None:
    own = make_distribution(law("Normal"))
    assert isinstance(own, OwnDistribution)
    whole = own.posterior_mean(*points)
    x, alpha, h = points
    np.testing.assert_array_equal(whole[4096:4099], own.posterior_mean(
        x[4096:4099], alpha[4096:4099], h[4096:4099]))  # fmt: skip
