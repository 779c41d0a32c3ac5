"""The audit of a study's assumptions, beside the trials: one table a setting (docs/theory.md, 9).

A setting is what trials have in common when only N, m, eta, the initialisation and the seed differ.
Knows nothing of Ray: `study.running.engine` calls `audit_into_store` in workers.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.data.audit import audit_table, read_audits, with_diffusion
from analysis.data.files import NotAFileError
from analysis.data.schema import ResultsError
from analysis.data.sweeps import family
from study.planning.concluding import Wanted, audits_seconds
from study.planning.cost import Speeds
from study.planning.plan import Slots
from study.storage.store import Store
from trainers.audit.columns import (
    AUDIT_VERSION,
    BRIEF_DRAWS,
    BRIEF_REPLICATES,
    BRIEF_SAMPLES,
    REPLICATES,
    SPECTRUM_SAMPLES,
    audit_bytes,
)
from trainers.laws import Points
from trainers.trial import NUMERICS_VERSION, TrialConfig


def settings_of(
    trials: Iterable[TrialConfig], samples: int = SPECTRUM_SAMPLES
) -> dict[str, Wanted]:
    """audit_id -> the audit of a setting, in order of appearance, brief ones last. samples: N of
    the spectrum.

    One whose norms are among another's has that one's audit: a trial of infinite width has only the
    largest of its networks' norms. Draws of a law at infinite width alone have a brief one where
    networks were trained on another draw, the first BRIEF_DRAWS of them. A law whose f* is not
    known has none.
    """
    # Hashing every trial of a large study would take longer than its audit.
    first: dict[tuple[object, ...], dict[tuple[float, ...], TrialConfig]] = {}
    with_networks = set()
    for trial in trials:
        if not trial.law.known:
            continue
        key = (trial.law, trial.diffusion, trial.bias, trial.study_seed)
        first.setdefault(key, {}).setdefault(trial.norms, trial)
        if not trial.infinite:
            with_networks.add(trial.law)
    drawn = {(family(law.label), law.dimension) for law in with_networks if family(law.label)}
    wanted = []
    briefly: Counter[tuple[object, ...]] = Counter()
    for by_norms in first.values():
        for norms, trial in by_norms.items():
            if any(set(norms) < set(other) for other in by_norms):
                continue
            stands = trial.law in with_networks
            brief = not stands and (family(trial.law.label), trial.dimension) in drawn
            draws = (family(trial.law.label), trial.dimension, trial.diffusion, trial.bias)
            if brief and briefly[draws] == BRIEF_DRAWS:
                continue
            briefly[draws] += brief
            n = min(samples, BRIEF_SAMPLES) if brief else samples
            wanted.append(Wanted(trial, n, brief))
    wanted.sort(key=lambda one: one.brief)
    return {one.key(): one for one in wanted}


def audits_at_once(slots: Slots, samples: int) -> int:
    """How many audits fit beside each other in the memory of the CPU's workers. A card's memory
    says nothing of the machine's: there one for each worker."""
    workers_each = math.ceil(audit_bytes(samples) / slots.memory) if slots.device == "cpu" else 1
    return max(1, slots.workers // max(1, workers_each))


def seconds_of_audits(audits: Collection[Wanted], slots: Slots, speeds: Speeds) -> float:
    """Until the last of them ends on these slots."""
    largest = max((one.samples for one in audits), default=1)
    return audits_seconds(audits, audits_at_once(slots, largest), speeds)


def missing_audits(
    store: Store, trials: Iterable[TrialConfig], samples: int = SPECTRUM_SAMPLES
) -> dict[str, Wanted]:
    """The settings whose audit is not in the store, or cannot be read there."""
    settings = settings_of(trials, samples)
    return {key: one for key, one in settings.items() if load(store, [key]) is None}


def load(store: Store, audit_ids: Iterable[str]) -> pd.DataFrame | None:
    """The stored audits of these ids; None where there are none. One that cannot be read counts as
    missing: the next run measures it anew."""
    tables = []
    for key in audit_ids:
        try:
            data = store.read(f"audit/{key}.parquet")
            if data is None:
                continue
            tables.append(
                read_audits([(f"{store.place}/audit/{key}.parquet", pa.BufferReader(data))])
            )
        except (ResultsError, NotAFileError):
            continue
    return pd.concat(tables, ignore_index=True) if tables else None


def load_latest(
    store: Store,
    trials: Iterable[TrialConfig],
    samples: int = SPECTRUM_SAMPLES,
    earlier: bool = False,
) -> pd.DataFrame | None:
    """Of each setting of the trials the latest audit: of today's version, else of the one before.
    earlier: of the settings of results of earlier numerics, the latest of those first."""
    numerics = range(NUMERICS_VERSION - 1, 0, -1) if earlier else [NUMERICS_VERSION]
    kinds = [(n, version) for n in numerics for version in range(AUDIT_VERSION, 0, -1)]
    tables: list[pd.DataFrame] = []
    for one in settings_of(trials, samples).values():
        of_each = (load(store, [one.key(*kind)]) for kind in kinds)
        latest = itertools.islice((table for table in of_each if table is not None), 1)
        tables += (with_diffusion(table, one.config.diffusion) for table in latest)
    return pd.concat(tables, ignore_index=True) if tables else None


def audit_into_store(store: Store, wanted: Wanted, atoms: Points, threads: int) -> str:
    """Makes an audit, on the CPU, and stores the table; returns its id."""
    # Only here, in a worker, is torch loaded.
    import torch

    from trainers.audit.measure import audit

    torch.set_num_threads(threads)
    key, seeds = wanted.key(), BRIEF_REPLICATES if wanted.brief else REPLICATES
    rows: list[dict[str, Any]] = audit(
        wanted.config, dict(atoms), seeds, wanted.samples, wanted.brief
    )
    sink = pa.BufferOutputStream()
    pq.write_table(audit_table(rows), sink, compression="zstd", write_page_checksum=True)
    store.write_bytes(f"audit/{key}.parquet", sink.getvalue().to_pybytes())
    return key
