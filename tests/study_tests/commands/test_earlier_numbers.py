"""Results of earlier numerics: found by `analyze` under their own ids, and never mixed with new."""

import json

import pandas as pd

from study.commands.analyze import finished_ids
from study.storage.store import Entry, Ledger
from trainers.trial import NUMERICS_VERSION, TrialConfig, TrialStatus, content_id


def trials() -> list[TrialConfig]:
    law = {"kind": "gaussian_mixture", "dimension": 2}
    values = {"law": law, "samples": 64, "width": 8, "step_size": 1.0}
    return [TrialConfig.model_validate({**values, "seed": seed}) for seed in range(3)]


def ledger(ids: list[str]) -> Ledger:
    done = Entry(TrialStatus.COMPLETED, "pack", pd.Timestamp(0).to_pydatetime(), 1.0, "cpu")
    return Ledger(dict.fromkeys(ids, done))


def test_earlier_ids_are_those_of_the_same_configuration_and_other_numerics() -> None:
    for trial in trials():
        identity = json.loads(json.dumps(trial.identity()))
        assert identity["numerics"] == NUMERICS_VERSION
        expected = content_id({**identity, "numerics": NUMERICS_VERSION - 1})
        assert trial.earlier_ids()[0] == expected
        assert trial.trial_id not in trial.earlier_ids()


def test_earlier_results_are_found_and_said_where_there_are_none_of_today() -> None:
    every = trials()
    today, earlier = [t.trial_id for t in every], [t.earlier_ids()[0] for t in every]
    assert finished_ids(every, ledger(today + earlier)) == (today, "")
    assert finished_ids(every, ledger(today[:1] + earlier)) == (today, "")
    ids, note = finished_ids(every, ledger(earlier[:1]))
    assert ids == earlier
    assert "earlier version" in note
    assert finished_ids(every, ledger([])) == (today, "")
