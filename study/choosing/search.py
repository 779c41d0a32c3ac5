"""Searches with Optuna's own ask and tell.

One Optuna study for each law, N, sampler and repetition, all in one database beside the results.
A round asks for `batch` trials at once (the samplers count running ones as taken: a constant liar)
and trains them as packs. With a pruner a round goes from rung to rung: trained to the rung's step,
told to Optuna as an intermediate value, and only the promising ones go on, trained anew from the
start: with factor 4 that costs a trial that goes all the way 5/16 more, and keeps the packs full.

The objective is the held-out denoising loss, its smallest value along the trajectory: what someone
without the truth can minimise, by stopping there. The true score error at that step is written
beside it, as a user attribute, and no sampler reads those.

Everything that decides the next question is in the database: a driver that is killed goes on where
it was. Trials that were running then are adopted, and each question's sampler is made anew with a
seed of its own, so the answers are those of a driver that was never killed.
"""

from __future__ import annotations

import math
import sqlite3
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import StorageInternalError
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from study.choosing.participant import Outcome, Participant, Request
from study.choosing.whole_widths import WIDTH, WholeWidths, bounds
from study.spec.search import SearchSection, Space, StepRange, WidthRange
from study.storage.files import StoreError
from trainers.errors import first_line
from trainers.methods.custom import trainer_fields
from trainers.trial import TrialConfig, TrialStatus, content_id, recorded_steps

DATABASE = "optuna.db"
LOCK_SECONDS = 60.0
"""How long a database that another program has locked is waited for."""

SPACE = "space"
"""User attribute of an Optuna study: what it searches over."""

OBJECTIVE = "held-out loss"
"""What Optuna's views call the value of a trial."""

GOLDEN = (math.sqrt(5) - 1) / 2
"""Multiples of it, modulo 1, are spread evenly, however many there are (Weyl's sequence)."""

LOG2_WIDTH = "log2_width"
"""The parameter of earlier searches, which go on with it."""

CONFIG, TRIAL, SCORE, STEP, OPERATIONS = (
    "config", "trial_id", "score_error", "best_step", "operations",
)  # fmt: skip
"""User attributes of an Optuna trial."""


@contextmanager
def open_storage(folder: Path) -> Iterator[RDBStorage]:
    """Optuna's database in `folder`, and Optuna quiet."""

    def connect() -> sqlite3.Connection:
        # By its path: in an address, a `?` in the folder's name would begin the options.
        return sqlite3.connect(folder / DATABASE, LOCK_SECONDS, check_same_thread=False)

    with quiet(), told_of_the_database():
        storage = RDBStorage(f"sqlite:///{DATABASE}", engine_kwargs={"creator": connect})
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna, but for its errors."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)


@contextmanager
def told_of_the_database() -> Iterator[None]:
    """What goes wrong with Optuna's database, as a StoreError that says what to do."""
    try:
        yield
    except (StorageInternalError, SQLAlchemyError, sqlite3.Error, RuntimeError) as error:
        older = "compatible with the table schema" in str(error)
        if isinstance(error, RuntimeError) and not older:
            raise  # Optuna says only this one so; others are not the database's
        cause = error.__cause__ or error
        what = first_line(getattr(cause, "orig", cause))
        if older:
            what = "it is of an older version"
            remedy = f"`optuna storage upgrade --storage sqlite:///{DATABASE}` there brings it up"
        elif "locked" in what:
            remedy = f"another program kept it for {LOCK_SECONDS:.0f} s: end that"
        else:
            remedy = "mend or move the file"
        raise StoreError(
            f"Optuna's database ({DATABASE} beside the results): {what}; {remedy}, then run the "
            "same command again, which goes on from there: nothing is lost"
        ) from None


@dataclass(frozen=True)
class _Asked:
    """A trial of the round: its Optuna number, what it is, the first rung it is judged at."""

    number: int
    config: TrialConfig
    bracket: int


@dataclass(frozen=True)
class Evaluation:
    """An Optuna trial as it ended. value: the objective; step: where it was reached."""

    number: int
    trial_id: str
    state: str
    value: float
    score_error: float
    step: float
    operations: float


@dataclass(frozen=True)
class Where:
    """Which search: its point (a TrialConfig whose width, step size, network and seed are the
    search's to choose), sampler, and repetition, which is also the seed of data and weights."""

    point: TrialConfig
    sampler: str
    repetition: int

    def label(self, study: str) -> str:
        """The Optuna study's name: says which it is, and tells apart all that could differ."""
        p = self.point
        identity = {k: v for k, v in p.identity().items() if k not in _CHOSEN}
        return (
            f"{study} N={p.samples} {p.law.kind} d={p.dimension} {self.sampler} "
            f"repetition={self.repetition} {content_id(identity)[:6]}"
        )


_CHOSEN = ("width", "step_size", "initialisation", "bias", "trainer", "trainer_sha256", "seed")


class Search(Participant):
    """One Optuna study, as a participant."""

    @told_of_the_database()
    def __init__(
        self, storage: RDBStorage, study: str, where: Where, section: SearchSection
    ) -> None:
        self.where = where
        self._section, self._label = section, where.label(study)
        space = _space_id(section)
        self._study = _optuna_study(storage, self._label)
        if self._study.user_attrs.get(SPACE, space) != space:
            # Samplers cannot learn from another space: it keeps its study, this one gets its own.
            self._label = _label_beside(self._label, space)
            self._study = _optuna_study(storage, self._label)
        attributes = {SPACE: space, "objective": "holdout_loss, least along the trajectory"}
        for name, value in attributes.items():
            if name not in self._study.user_attrs:
                self._study.set_user_attr(name, value)
        if self._study.metric_names is None:
            self._study.set_metric_names([OBJECTIVE])
        known = self._study.get_trials(deepcopy=False)
        self._exponents = any(name.startswith(LOG2_WIDTH) for t in known for name in t.params)
        self._rungs = rungs_of(where.point, section)
        self._round: list[_Asked] | None = None
        self._stage = 0
        self._told = [e.trial_id for e in self.evaluations()]

    # --- as a participant ------------------------------------------------------------------------

    @told_of_the_database()
    def advance(self, outcomes: Mapping[str, Outcome]) -> Sequence[Request]:
        """The round's trials at its next rung, or those of a new round; none at the end."""
        if self._round is None:
            self._round = self._adopted()
        else:
            self._round = self._judged(outcomes, self._round)
            self._stage += 1
        if not self._round or self._stage == 0:
            self._round += self._asked()
        if not self._round:
            return []
        while not (at := self._at_this_stage(self._round)):
            self._stage += 1
        last = self._stage == len(self._rungs) - 1
        return [Request(a.config, None if last else self._rungs[self._stage]) for a in at]

    def finished_trials(self) -> Collection[str]:
        """Ids of the trials that Optuna was told about."""
        return self._told

    @told_of_the_database()
    def evaluations(self) -> list[Evaluation]:
        """What Optuna was told so far, in order of number."""
        found = []
        for trial in self._study.get_trials(deepcopy=False):
            attrs = trial.user_attrs
            if _over(trial):
                numbers = [attrs.get(name) for name in (SCORE, STEP, OPERATIONS)]
                numbers = [np.nan if n is None else float(n) for n in (trial.value, *numbers)]
                found.append(Evaluation(trial.number, attrs[TRIAL], trial.state.name, *numbers))
        return found

    @told_of_the_database()
    def winner(self) -> TrialConfig | None:
        """The trial of the evaluation with the least held-out loss."""
        return _winner(self._study.get_trials(deepcopy=False))

    def _at_this_stage(self, asked: Sequence[_Asked]) -> list[_Asked]:
        return [a for a in asked if a.bracket <= self._stage]

    # --- asking ----------------------------------------------------------------------------------

    def _adopted(self) -> list[_Asked]:
        """The trials that a driver before this one left running. One that died in the middle of
        a question left half of it: that is a failure, and counts as no evaluation."""
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        adopted = []
        for trial in running:
            if TRIAL in trial.user_attrs:
                adopted.append(self._as_asked(trial.number, _config(trial)))
            else:
                self._study.tell(trial.number, state=TrialState.FAIL)
        return adopted

    def _asked(self) -> list[_Asked]:
        """New questions, up to the next whole number of batches, or the last evaluation."""
        self._stage = 0
        known = sum(TRIAL in t.user_attrs for t in self._study.get_trials(deepcopy=False))
        batch, most = self._section.batch, self._section.evaluations
        # A driver that died while it asked left part of a batch: its other part is asked for now.
        begun = -known % batch
        count = begun if begun or self._round else batch
        return [self._ask() for _ in range(min(count, most - known))]

    def _ask(self) -> _Asked:
        number = len(self._study.get_trials(deepcopy=False))
        self._study.sampler = sampler_of(self.where.sampler, self._label, number)
        trial = self._study.ask()
        config = configure(trial, self._section.space, self.where, self._exponents)
        trial.set_user_attr(CONFIG, config.model_dump_json())
        trial.set_user_attr(TRIAL, config.trial_id)
        return self._as_asked(trial.number, config)

    def _as_asked(self, number: int, config: TrialConfig) -> _Asked:
        return _Asked(number, config, _bracket(number, self._rungs, self._section))

    # --- telling ---------------------------------------------------------------------------------

    def _judged(self, outcomes: Mapping[str, Outcome], asked: list[_Asked]) -> list[_Asked]:
        """Tells Optuna about the trials of this stage; returns those that go on."""
        rung = self._rungs[self._stage]
        final = self._stage == len(self._rungs) - 1
        going = [a for a in asked if a.bracket > self._stage]
        judged: list[tuple[_Asked, Outcome]] = []
        for a in self._at_this_stage(asked):
            outcome = outcomes[a.config.trial_id]
            over = final or outcome.status in (TrialStatus.DIVERGED, TrialStatus.FAILED)
            if over or best_until(outcome, rung) is None:
                self._tell(a, outcome, a.config.steps, None)
            else:
                judged.append((a, outcome))
        for a, outcome in judged:
            found = best_until(outcome, rung)
            assert found is not None
            self._report(a.number, rung, found[0])
        promising = self._promising(rung)
        for a, outcome in judged:
            if a.number in promising:
                going.append(a)
            else:
                self._tell(a, outcome, rung, TrialState.PRUNED)
        return sorted(going, key=lambda a: a.number)

    def _report(self, number: int, rung: int, value: float) -> None:
        storage = self._study._storage
        optuna_id = storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number)
        storage.set_trial_intermediate_value(optuna_id, rung, value)

    def _promising(self, rung: int) -> set[int]:
        """Numbers of the best 1/factor of all that reached this rung, at least one."""
        if self._section.pruner is None:
            return set()
        values = {
            t.number: t.intermediate_values[rung]
            for t in self._study.get_trials(deepcopy=False)
            if rung in t.intermediate_values
        }
        most = max(1, len(values) // self._section.pruner.factor)
        return set(sorted(values, key=lambda n: (values[n], n))[:most])

    def _tell(self, a: _Asked, outcome: Outcome, until: int, state: TrialState | None) -> None:
        """Ends an Optuna trial: with the least holdout loss up to `until`; failed without one."""
        found = best_until(outcome, until)
        storage = self._study._storage
        optuna_id = storage.get_trial_id_from_study_id_trial_number(self._study._study_id, a.number)
        if found is not None:
            value, index = found
            operations = outcome.operations
            if outcome.status != TrialStatus.DIVERGED:
                # Every rung on the way was trained from the start.
                trained = sum(self._rungs[a.bracket : self._stage + 1])
                operations *= trained / int(outcome.steps[-1])
            beside = {
                SCORE: outcome.series["score_error"][index],
                STEP: int(outcome.steps[index]),
                OPERATIONS: operations,
            }
            for name, number in beside.items():
                known = float(number) if np.isfinite(number) else None
                storage.set_trial_user_attr(optuna_id, name, known)
        if found is None:
            self._study.tell(a.number, state=TrialState.FAIL)
        elif state is not None:
            self._study.tell(a.number, state=state)
        else:
            self._study.tell(a.number, value)
        self._told.append(a.config.trial_id)


def _optuna_study(storage: RDBStorage, name: str) -> optuna.Study:
    # The sampler given here is never asked: each question has one of its own.
    return optuna.create_study(
        storage=storage,
        sampler=optuna.samplers.RandomSampler(0),
        study_name=name,
        direction="minimize",
        load_if_exists=True,
    )


def _space_id(section: SearchSection) -> str:
    return content_id([one.model_dump(mode="json") for one in section.space])


def _label_beside(label: str, space: str) -> str:
    return f"{label} space={space[:6]}"


# --- without a search -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Behind:
    """What a search has behind it: the trials of its evaluations, and the one that leads."""

    where: Where
    trials: Sequence[TrialConfig] = ()
    winner: TrialConfig | None = None


@told_of_the_database()
def evaluated(storage: RDBStorage, study: str, where: Where, section: SearchSection) -> Behind:
    """What a search has behind it. Writes nothing: `Search` makes what is not there."""
    label, space = where.label(study), _space_id(section)
    for name in (label, _label_beside(label, space)):
        try:
            found = optuna.load_study(study_name=name, storage=storage)
        except KeyError:
            continue
        if found.user_attrs.get(SPACE, space) == space:
            trials = [t for t in found.get_trials(deepcopy=False) if _over(t)]
            return Behind(where, [_config(trial) for trial in trials], _winner(trials))
    return Behind(where)


def _over(trial: FrozenTrial) -> bool:
    return trial.state.is_finished() and TRIAL in trial.user_attrs


def _config(trial: FrozenTrial) -> TrialConfig:
    return TrialConfig.model_validate_json(trial.user_attrs[CONFIG])


def _winner(trials: Sequence[FrozenTrial]) -> TrialConfig | None:
    """The trial with the least value, the first of equal ones."""
    known = [t for t in trials if _over(t) and t.value is not None]
    return _config(min(known, key=lambda t: (t.value, t.number))) if known else None


def drawn(where: Where, section: SearchSection, count: int) -> list[TrialConfig]:
    """Trials that a random search at `where` may ask for, always the same; any few of them one
    after another are spread over all sizes, as the whole is."""
    with quiet():
        study = optuna.create_study(sampler=sampler_of("random", "drawn", 0))
        found = [configure(study.ask(), section.space, where) for _ in range(count)]
    found.sort(key=lambda trial: trial.training_operations)
    places = sorted(range(count), key=lambda i: i * GOLDEN % 1)
    at = dict(zip(places, found, strict=True))
    return [at[i] for i in range(count)]


def stages(
    round_: Sequence[TrialConfig], section: SearchSection
) -> Iterator[tuple[list[TrialConfig], int]]:
    """Of the trials of a round those that are trained to each rung, and its step, where the pruner
    lets 1/factor of them go on."""
    rungs = rungs_of(round_[0], section)
    going: list[TrialConfig] = []
    for stage, rung in enumerate(rungs):
        going += [t for i, t in enumerate(round_) if _bracket(i, rungs, section) == stage]
        if going:
            yield going, rung
        if section.pruner is not None:
            going = going[: max(1, len(going) // section.pruner.factor)]


# --- the pieces -----------------------------------------------------------------------------------


def best_until(outcome: Outcome, until: int) -> tuple[float, int] | None:
    """The least holdout loss at the recorded steps up to `until`, and its place among them. Nothing
    but that loss decides."""
    holdout = outcome.series["holdout_loss"]
    usable = np.flatnonzero((outcome.steps <= until) & np.isfinite(holdout))
    if not len(usable) or outcome.status == TrialStatus.FAILED:
        return None
    index = int(usable[np.argmin(holdout[usable])])
    return float(holdout[index]), index


def rungs_of(point: TrialConfig, section: SearchSection) -> list[int]:
    """The recorded steps at which trajectories are judged, rising; the last is the end."""
    if section.pruner is None:
        return [point.steps]
    grid = [step for step in recorded_steps(point.steps, point.recorded) if step > 0]
    wanted = [point.steps / section.pruner.factor**k for k in range(section.pruner.rungs, 0, -1)]
    nearest = {min(grid, key=lambda step: abs(np.log(step / w))) for w in wanted}
    return [*sorted(nearest - {point.steps}), point.steps]


def _bracket(number: int, rungs: Sequence[int], section: SearchSection) -> int:
    """The rung that a trial is first judged at."""
    hyperband = section.pruner is not None and section.pruner.kind == "hyperband"
    return number % len(rungs) if hyperband else 0


def sampler_of(kind: str, label: str, number: int) -> BaseSampler:
    """The sampler that answers question `number`. Quasi-random points are one sequence, whose place
    is in the database; the others keep all they know there, but for their random state."""
    return WholeWidths(_sampler_of(kind, label, number))


def _sampler_of(kind: str, label: str, number: int) -> BaseSampler:
    whole = int(content_id([label])[:8], 16)
    seed = int(content_id([label, number])[:8], 16)
    if kind == "tpe":
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True)
    if kind == "gp":
        return optuna.samplers.GPSampler(seed=seed, warn_independent_sampling=False)
    if kind == "cmaes":
        return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    if kind == "qmc":
        return optuna.samplers.QMCSampler(
            scramble=True,
            seed=whole,
            independent_sampler=optuna.samplers.RandomSampler(seed),
            warn_asynchronous_seeding=False,
            warn_independent_sampling=False,
        )
    return optuna.samplers.RandomSampler(seed)


def configure(
    trial: Trial, spaces: Sequence[Space], where: Where, exponents: bool = False
) -> TrialConfig:
    """Asks Optuna for the parameters of a trial. With several spaces their names are numbered.
    exponents: whether it is asked for the exponent of a width, as earlier searches did."""
    index = 0
    if len(spaces) > 1:
        index = trial.suggest_categorical("space", list(range(len(spaces))))
    space, suffix = spaces[index], f"_{index}" if len(spaces) > 1 else ""

    def choose(name: str, values: Sequence[Any]) -> Any:
        if len(values) == 1:
            return values[0]
        return trial.suggest_categorical(name + suffix, list(values))

    trainer = choose("trainer", space.trainer)
    fields: dict[str, Any] = {**trainer_fields(trainer), "seed": where.repetition}
    if isinstance(space.width, WidthRange):
        span = space.width.exponents()
        if exponents:
            fields["width"] = 2 ** trial.suggest_int(f"{LOG2_WIDTH}{suffix}", span[0], span[-1])
        elif len(span) == 1:
            fields["width"] = 2 ** span[0]
        else:
            low, high = bounds(space.width)
            fields["width"] = trial.suggest_int(f"{WIDTH}{suffix}", low, high, log=True)
    else:
        fields["width"] = choose("width", space.width)
    if isinstance(space.step_size, StepRange):
        slow, fast = space.step_size.low, space.step_size.high
        fields["step_size"] = trial.suggest_float(f"step_size{suffix}", slow, fast, log=True)
    else:
        fields["step_size"] = choose("step_size", space.step_size)
    for name, values in space.networks(trainer).items():
        fields[name] = choose(name, values)
    return where.point.changed(**fields)
