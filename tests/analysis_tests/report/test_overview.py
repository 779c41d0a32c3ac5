"""What the report says of the study."""

from __future__ import annotations

import pandas as pd

from analysis.report.overview import facts


def told(counts: dict[tuple[int, int], int]) -> dict[str, str]:
    """The facts of a study with so many seeds at each (N, m)."""
    rows = [
        {"samples": n, "width": m, "seed": seed, "point_id": f"{n} {m}"}
        for (n, m), count in counts.items()
        for seed in range(count)
    ]
    constant = {
        "law_label": "cube",
        "dimension": 2,
        "step_size": 0.5,
        "steps": 10,
        "t_min": 0.1,
        "t_max": 1.0,
        "seconds": 2.0,
        "operations": 4e9,
        "device": "cpu",
        "trainer": "descent",
    }
    trials = pd.DataFrame([{**row, **constant} for row in rows])
    return dict(facts(trials, trials, [("Design", "reached")]))


def test_seeds_are_one_number_where_all_points_have_as_many() -> None:
    found = told({(64, 8): 3, (128, 8): 3})
    assert found["Seeds"] == "3"
    assert found["Samples N"] == "64, 128"
    assert found["Training"] == "12 s 2 GFLOP/s"
    assert found["Devices"] == "cpu"
    assert found["Design"] == "reached"


def test_unequal_seeds_are_told_by_n() -> None:
    found = told({(64, 8): 5, (64, 16): 7, (128, 8): 2})
    assert found["Seeds"] == "2 to 7 a point: 5 to 7 at N = 64, 2 at N = 128"
