"""A study, read from YAML: `StudySpec.load(path).trials()`.

`base` holds the values of the axes, a sweep varies some of them (full factorial), a study is the
union of its sweeps, trials that several sweeps ask for counted once. A list in `base` multiplies
every sweep that does not set that axis. Without sweeps the study is the factorial of `base`. A
sweep may have seeds of its own, and more draws of the laws.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import AfterValidator, Field, PrivateAttr, ValidationError

from analysis.text import counted
from analysis.theory import KEYS, check_theories
from analysis.verdicts.own import Stated
from study.spec.axes import (
    MAXIMUM_TRIALS,
    REQUIRED_AXES,
    Axes,
    DecompositionSection,
    DiffusionSection,
    Resources,
    Section,
    Values,
    factorial,
    misfits,
    multiple,
)
from study.spec.contents import Contents
from study.spec.design import Budget, DesignSection
from study.spec.keep import KeepSection, QualitySection
from study.spec.laws import draws_of, read_laws
from study.spec.messages import SpecError, keys_of, problems_of, without_empty
from study.spec.predictions import Predictions, PredictionSection
from study.spec.search import (
    EXAMPLE,
    SPACE_AXES,
    Guided,
    Pruner,
    SearchSection,
    Space,
    StepRange,
    WidthRange,
)
from study.spec.seeds import NetworkAndKernel, SeedsSection, Sweep
from study.spec.strict_yaml import MAXIMUM_BYTES, TOO_LONG, YamlError, read_yaml
from trainers.audit.columns import SPECTRUM_SAMPLES
from trainers.errors import LawError, TrainerError, unreadable
from trainers.kept.keep import Keep, Sampling
from trainers.laws import DataFile, OwnLaw, own_class
from trainers.methods.custom import (
    imported_beside,
    source_files,
    trainer_fields,
)
from trainers.own_files import make_importable, sources_of
from trainers.ranges import AuditPoints, HoldoutPoints, Recorded, Seed, Steps, TestPoints
from trainers.registry import DESCENT
from trainers.trial import Diffusion, Law, TrialConfig

__all__ = ["SpecError", "StudySpec"]

Stopping = Literal["oracle", "holdout", "discrepancy", "rademacher", "a_priori"]


def _theories(keys: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return check_theories(keys)
    except ValueError as error:
        raise ValueError(f"cannot be judged: {error}") from None


class _Block(NamedTuple):
    """A full factorial over the values of axes, for `draws` of every law."""

    where: str
    axes: dict[str, tuple[Any, ...]]
    seeds: SeedsSection
    draws: int = 1


NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
"""Of a study: its folder and its experiment are called so."""


class StudySpec(Section):
    """A study as its YAML file states it; laws are complete (atoms of a file have their hash).

    Make it with `load`, `from_text` or `from_mapping`: they raise SpecError, whose message lists
    every problem with its key and remedy.
    """

    name: Annotated[str, Field(pattern=NAME)]
    description: str = ""
    law: tuple[Law, ...] = Field(min_length=1)
    diffusion: DiffusionSection = DiffusionSection()
    steps: Values[Steps] = (1000,)
    seeds: NetworkAndKernel = SeedsSection(network=(0,))
    study_seed: Seed = 0
    base: Axes = Axes()
    sweeps: tuple[Sweep, ...] = ()
    test_points: TestPoints = 2048
    holdout_points: HoldoutPoints = 1024
    recorded: Recorded = 40
    precision: Literal["float32", "float64"] = "float32"
    kernel: bool = True
    decomposition: DecompositionSection = DecompositionSection()
    stopping: Values[Stopping] = get_args(Stopping)
    keep: KeepSection | None = None
    quality: QualitySection | None = None
    theories: Annotated[Values[str], AfterValidator(_theories)] = KEYS
    predictions: Predictions = ()
    audit: bool = True
    audit_points: AuditPoints = SPECTRUM_SAMPLES
    resources: Resources = Resources()
    search: SearchSection | None = None
    design: DesignSection | None = None
    device: Literal["auto", "cpu", "cuda", "mixed"] = "auto"
    _text: str = PrivateAttr(default="")
    _atoms: dict[str, DataFile] = PrivateAttr(default_factory=dict)
    _folder: Path = PrivateAttr(default_factory=Path.cwd)
    _contents: Contents = PrivateAttr(default_factory=Contents)

    def __repr__(self) -> str:
        points = counted(len(self.points()), "point")
        return f"StudySpec({self.name!r}: {counted(len(self.law), 'law')}, {points})"

    @property
    def text(self) -> str:
        """The YAML text as it was read, comments included."""
        return self._text

    @property
    def folder(self) -> Path:
        """The folder that CSV files are relative to."""
        return self._folder

    @classmethod
    def load(cls, path: str | Path) -> StudySpec:
        """The study of a YAML file. Raises SpecError."""
        path = Path(path)
        try:
            with path.open("rb") as stream:
                read = stream.read(MAXIMUM_BYTES + 1)
            if len(read) > MAXIMUM_BYTES:
                raise SpecError(f"{path} {TOO_LONG}")
            text = read.decode("utf-8")
        except UnicodeDecodeError:
            raise SpecError(f"{path} is not UTF-8 text: a study is a YAML file") from None
        except SpecError:
            raise
        except (OSError, ValueError) as error:  # a null byte in the path, say
            raise SpecError(unreadable(path, error)) from None
        try:
            return cls.from_text(text, path.parent)
        except SpecError as error:
            raise SpecError(*error.problems, source=str(path)) from None

    @classmethod
    def from_text(
        cls, text: str, folder: str | Path = ".", contents: Contents | None = None
    ) -> StudySpec:
        """The study of YAML text; CSV files are looked for relative to `folder`. contents: of an
        earlier `contents()`, which stand for the files."""
        try:
            data = read_yaml(text)
        except YamlError as error:
            raise SpecError(str(error)) from None
        return cls.from_mapping(data, folder, text, contents)

    @classmethod
    def from_mapping(
        cls, data: Any, folder: str | Path = ".", text: str = "", contents: Contents | None = None
    ) -> StudySpec:
        """The study of plain data, as YAML would give it."""
        contents = contents or Contents()
        if not isinstance(data, Mapping):
            raise SpecError("a study is a mapping of keys to values, with at least name and law")
        problems: list[str] = []
        held: dict[str, DataFile] = {}
        data = without_empty(data, "", problems)
        laws = contents.laws or read_laws(data, Path(folder), problems, held)
        prepared = {**data, "law": laws}
        sweeps = data.get("sweeps", ())
        prepared["sweeps"] = (sweeps,) if isinstance(sweeps, Mapping) else sweeps
        if isinstance(sweeps, list):
            prepared["sweeps"] = tuple(sweeps)
        try:
            spec = cls.model_validate(prepared)
        except ValidationError as error:
            raise SpecError(*problems, *problems_of(error, data, sections=_sections())) from None
        if problems:
            raise SpecError(*problems)
        spec._text, spec._folder = text, Path(folder).absolute()
        spec._contents, spec._atoms = contents, held
        spec._check()
        return spec

    def on(self, device: str | None, workers: int | None) -> StudySpec:
        """The same study on another device, or with another number of workers; None leaves it."""
        resources = self.resources
        if workers is not None:
            resources = resources.model_copy(update={"workers": workers})
        return self.model_copy(update={"device": device or self.device, "resources": resources})

    def trials(self) -> list[TrialConfig]:
        """All trials, each once, in the order of sweeps, laws, axes and seeds; then those that
        seeds.kernel asks for; then those of sweeps with seeds of their own. Raises SpecError where
        the study is a search: its trials are chosen as it goes."""
        if self.search is not None:
            raise SpecError(
                f"study {self.name!r} is a search: start it with `scorerates search`, or remove "
                "the key search"
            )
        if self.design is not None:
            raise SpecError(f"study {self.name!r} has a design: its trials are known as it goes")
        return list(self._trials)

    def points(self) -> tuple[TrialConfig, ...]:
        """The first seed of every point, sweep by sweep; one that two sweeps share comes twice."""
        return tuple(point for points, _seeds in self._points for point in points)

    def growing(self) -> dict[str, list[TrialConfig]]:
        """Each width that is a multiple of N, as it is first written, and its points: the first
        seed of each, sweep by sweep."""
        found: dict[Fraction, tuple[str, list[TrialConfig]]] = {}
        for block, (points, _seeds) in zip(self._blocks(), self._points, strict=True):
            for width in block.axes.get("width", ()):
                share = multiple(width)
                if share is not None:
                    own = found.setdefault(share, (width, []))[1]
                    own += [point for point in points if point.width == share * point.samples]
        return dict(found.values())

    def search_points(self) -> tuple[TrialConfig, ...]:
        """What a search is made at: a trial for every law and value of the axes in `base`, without
        a kernel; its width, step size, network and seed are the search's to fill in."""
        return tuple(point.changed(kernel=False) for point in self.points())

    def searched(self) -> SearchSection:
        """The section search. Raises SpecError where there is none."""
        if self.search is None:
            raise SpecError(
                f"study {self.name!r} has no `search` section: it says what to search over, in "
                "place of sweeps, seeds, base.width and base.step_size (docs/search.md), such as",
                example=EXAMPLE.rstrip(),
            )
        return self.search

    def search_corners(self) -> tuple[TrialConfig, ...]:
        """The ends of what a search may choose, at each of its points: every trainer and network
        with the least and the largest width. Step sizes cost nothing: one stands for all."""
        return tuple(
            point.changed(**self._trainer_fields(one.pop("trainer")), **one)
            for point in self.search_points()
            for space in self.searched().space
            for one in space.corners()
        )

    def own_predictions(self) -> list[Stated]:
        """The study's own predictions, as `evaluate` takes them."""
        return [section.stated for section in self.predictions]

    def kept(self) -> Keep | None:
        """Which networks are kept and sampled: those of the first seeds of every sweep."""
        if self.keep is None and self.quality is None:
            return None
        sampling = None
        if (own := self.quality) is not None:
            how = (own.points, own.sampler, own.grid_steps, own.grid, own.start)
            sampling = Sampling(own.steps, self._first(own.seeds), *how)
        if self.keep is None:
            return Keep((), frozenset(), sampling)
        return Keep(self.keep.steps, self._first(self.keep.seeds), sampling)

    def _first(self, count: int | None) -> frozenset[int]:
        """The first seeds of every sweep, all where `count` is None."""
        if self.design is not None:
            return frozenset(range(MAXIMUM_TRIALS if count is None else count))
        first = (block.seeds.network[:count] for block in self._blocks())
        return frozenset(itertools.chain.from_iterable(first))

    def atoms(self) -> dict[str, DataFile]:
        """SHA-256 -> the data files that laws refer to, as they were read with the study, whatever
        they hold by now."""
        return dict(self._atoms)

    def own_files(self) -> tuple[tuple[str, bytes], ...]:
        """(module, source) of the trainers and laws of your own that the study names."""
        laws = sources_of(own_class(kind) for kind in self._own_laws())
        return tuple(sorted({*source_files(self._own_trainers()), *laws}))

    def unseen_imports(self) -> list[str]:
        """A warning for each trainer and law of your own that imports files beside its own: results
        are known by that one file alone."""
        found = {f"trainer {name}": imported_beside(name) for name in sorted(self._own_trainers())}
        for kind in sorted(self._own_laws()):
            found[f"law.kind {kind}"] = own_class(kind).imported_beside()
        return [
            f"{name} imports {', '.join(files)}: results are known by its own file alone, "
            "so an edit there trains nothing anew; keep what decides its numbers in the one file"
            for name, files in found.items()
            if files
        ]

    def contents(self) -> Contents:
        """What the study's files hold: with it, `from_text` needs none of them."""
        fields = {name: self._trainer_fields(name) for name in self._own_trainers()}
        return Contents(
            laws=self.law if self._atoms or self._contents.laws or self._own_laws() else (),
            trainers={name: field["trainer_sha256"] for name, field in fields.items()},
        )

    def _own_laws(self) -> set[str]:
        return {law.kind for law in self.law if isinstance(law, OwnLaw)}

    def _own_trainers(self) -> set[str]:
        spaces = self.search.space if self.search is not None else ()
        blocks = [block.axes.get("trainer", ()) for block in self._blocks()]
        names = {name for names in [*blocks, *(s.trainer for s in spaces)] for name in names}
        return {name for name in names if ":" in name}

    def _trainer_fields(self, name: str) -> dict[str, str]:
        if name in self._contents.trainers:
            return {"trainer": name, "trainer_sha256": self._contents.trainers[name]}
        if ":" in name:
            make_importable(self.folder)
        return trainer_fields(name)

    @cached_property
    def _trials(self) -> tuple[TrialConfig, ...]:
        points_by_seeds: dict[SeedsSection, list[TrialConfig]] = {}
        for points, seeds in self._points:
            points_by_seeds.setdefault(seeds, []).extend(points)
        unique: dict[str, TrialConfig] = {}
        for seeds, points in points_by_seeds.items():
            for trial in seeds.trials(points):
                unique.setdefault(trial.trial_id, trial)
        return tuple(unique.values())

    def _blocks(self) -> Iterator[_Block]:
        """Every sweep, the base filled in."""
        base = {"t_min": self.diffusion.t_min, "steps": self.steps, **self.base.given()}
        if self.search is not None:
            yield _Block("base", {"width": (2,), "step_size": (1.0,), **base}, self.seeds)
            return
        if not self.sweeps:
            yield _Block("base", base, self.seeds)
        for index, sweep in enumerate(self.sweeps):
            axes, seeds = {**base, **sweep.given()}, sweep.seeds or self.seeds
            yield _Block(f"sweeps[{index}]", axes, seeds, sweep.draws)

    @cached_property
    def _points(self) -> tuple[tuple[list[TrialConfig], SeedsSection], ...]:
        """Of every sweep its points, as validated trials of one seed, and its seeds. Raises
        SpecError with every bad one."""
        found: list[tuple[list[TrialConfig], SeedsSection]] = []
        wrong: dict[str, dict[str, None]] = {}
        for where, axes, seeds, draws in self._blocks():
            points: list[TrialConfig] = []
            found.append((points, seeds))
            seed = seeds.network[0]
            for law in itertools.chain.from_iterable(draws_of(law, draws) for law in self.law):
                for given in factorial(axes):
                    try:
                        points.append(self._trial(law, given, seed))
                    except ValidationError as error:
                        for problem in problems_of(error):
                            wrong.setdefault(problem, {})[where] = None
                    except TrainerError as error:
                        wrong.setdefault(str(error), {})[where] = None
        if wrong:
            raise SpecError(*(f"{', '.join(wh)}: {problem}" for problem, wh in wrong.items()))
        return tuple(found)

    def _trial(self, law: Any, axes: dict[str, Any], seed: int) -> TrialConfig:
        trainer = axes.pop("trainer", DESCENT)
        dimension = axes.pop("dimension", law.dimension)
        if dimension != law.dimension:
            law = type(law).model_validate({**law.model_dump(), "dimension": dimension})
        process = self.diffusion
        diffusion = Diffusion(
            t_min=axes.pop("t_min"),
            t_max=process.t_max,
            schedule=process.schedule,
            g_min=process.g_min,
            g_max=process.g_max,
        )
        return TrialConfig(
            law=law,
            diffusion=diffusion,
            seed=seed,
            study_seed=self.study_seed,
            test_points=self.test_points,
            holdout_points=self.holdout_points,
            recorded=self.recorded,
            precision=self.precision,
            kernel=self.kernel,
            norms=self.decomposition.norms,
            **self._trainer_fields(trainer),
            **axes,
        )

    def _check(self) -> None:
        """Raises SpecError for what one key cannot show: axes missing, given twice, at odds."""
        problems = []
        for axis, top in (("steps", "steps"), ("t_min", "diffusion.t_min")):
            section = self if axis == "steps" else self.diffusion
            if axis in section.model_fields_set and getattr(self.base, axis) is not None:
                problems.append(f"{top} and base.{axis} are both given: keep one")
        if self.search is not None:
            problems += self._search_problems(self.search)
        if self.design is not None:
            problems += self._design_problems()
        if self.quality is not None and any(not law.known for law in self.law):
            problems += self.quality.problems_of_a_table()
        for index, sweep in enumerate(self.sweeps):
            if not sweep.given():
                problems.append(f"sweeps[{index}] is empty: give it an axis, or remove it")
            for law in self.law:
                try:
                    draws_of(law, sweep.draws)
                except LawError as error:
                    problems.append(f"sweeps[{index}].{error}")
        blocks = list(self._blocks())
        for axis in REQUIRED_AXES:
            lacking = [block.where for block in blocks if axis not in block.axes]
            if lacking:
                where = "" if lacking == ["base"] else f" ({', '.join(lacking)} does not set it)"
                problems.append(f"base.{axis} is missing{where}: give it a value")
        problems += misfits((block.where, block.axes) for block in blocks)
        for index, law in enumerate(self.law):
            fixed = getattr(law, "sha256", None) is not None
            if fixed and any("dimension" in block.axes for block in blocks):
                problems.append(
                    f"law[{index}].file fixes the dimension at {law.dimension}: "
                    "remove the axis dimension, or put that law into a study of its own"
                )
        if problems:
            raise SpecError(*problems)
        size = sum(b.seeds.most(b.axes) * b.draws for b in blocks) * len(self.law)
        fewer = "seeds"
        if self.search is not None:
            size *= self.search.trials
            fewer = "search.evaluations, search.repetitions, search.finals"
        if size > MAXIMUM_TRIALS:
            raise SpecError(
                f"the study asks for {size:,} trials, more than {MAXIMUM_TRIALS:,}: give fewer "
                f"{fewer} or shorter lists, or make it several studies"
            )
        _ = self._points

    def _search_problems(self, search: SearchSection) -> list[str]:
        """Keys that a search has no use for, or that it has twice."""
        problems = [
            f"base.{axis} and search.space.{axis}: the search chooses it, remove base.{axis}"
            for axis in SPACE_AXES
            if getattr(self.base, axis) is not None
        ]
        # A search's tables tell points apart by law, N, t_min and steps alone.
        problems += [
            f"base.{axis} has {len(values)} values: a search takes one, make them two studies"
            for axis in ("copies", "time_law", "weight")
            if len(values := getattr(self.base, axis) or ()) > 1
        ]
        if self.sweeps:
            problems.append("sweeps and search are both given: make them two studies")
        if "seeds" in self.model_fields_set:
            problems.append("seeds is of no use beside search: give search.repetitions")
        problems += [
            f"{key} is of no use beside search: put what it chooses into a study of its own"
            for key in ("keep", "quality")
            if getattr(self, key) is not None
        ]
        if self.decomposition.norms:
            problems.append("decomposition is of no use beside search: remove it")
        pilots = 0 if search.theory is None else search.theory.samples
        problems += [
            f"search.theory.samples = {pilots}, but {law.label} has {law.most_samples} rows to "
            "train on: use at most as many"
            for law in self.law
            if law.most_samples is not None and pilots > law.most_samples
        ]
        for name in {name for space in search.space for name in space.trainer}:
            try:
                self._trainer_fields(name)
            except TrainerError as error:
                problems.append(f"search.space: {error}")
        return problems

    def _design_problems(self) -> list[str]:
        """Keys that an adaptive design has no use for, and curves that it cannot work on."""
        problems = []
        if self.search is not None:
            problems.append("design and search are both given: make them two studies")
        if "seeds" in self.model_fields_set or any(sweep.seeds for sweep in self.sweeps):
            problems.append("seeds is of no use beside design: it chooses them")
        if self.search is None:
            problems += [
                f"{where} has fewer than 3 values of samples, along which design chooses seeds: "
                "add some, or make it a study of its own"
                for where, axes, *_ in self._blocks()
                if len(set(axes.get("samples", ()))) < 3
            ]
            problems += [
                f"{where}: width = {width}: design chooses seeds along samples at one width, give "
                "a whole number, or remove design and give seeds"
                for where, axes, *_ in self._blocks()
                for width in axes.get("width", ())
                if multiple(width) is not None
            ]
        if self.kernel is False and self.design is not None:
            problems += [
                f"design.half_width.{name} needs the kernel: remove `kernel: false`"
                for name in self.design.half_width
                if name in ("kernel_best_score_error", "interpolation_error")
            ]
        return problems


SECTIONS: dict[str, type[Section]] = {
    "": StudySpec,
    "diffusion": DiffusionSection,
    "base": Axes,
    "sweeps": Sweep,
    "seeds": SeedsSection,
    "sweeps.seeds": SeedsSection,
    "decomposition": DecompositionSection,
    "resources": Resources,
    "keep": KeepSection,
    "quality": QualitySection,
    "design": DesignSection,
    "design.budget": Budget,
    "predictions": PredictionSection,
    "search": SearchSection,
    "search.space": Space,
    "search.space.width": WidthRange,
    "search.space.step_size": StepRange,
    "search.pruner": Pruner,
    "search.theory": Guided,
}
"""Path -> the model of a section."""


def _sections() -> dict[str, list[str]]:
    """Path of every section -> its keys."""
    return {path: keys_of(model) for path, model in SECTIONS.items()}
