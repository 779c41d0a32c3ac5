"""Quantities read off trajectories with planted minima, and the curves made of them."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from analysis.data.curves.quantities import INVERSE_T_MIN, Curve, curves
from analysis.data.curves.quantity import Quantity
from analysis.data.curves.trajectories import INTERPOLATED, at_time, best, common_time, trials
from analysis.verdicts.judging import fit_curve
from trainers.columns import TEST_GROUPS

TIME = np.array([0.0, *np.logspace(0, 3, 39)])


@pytest.fixture(scope="module")
def table(synthetic: ModuleType) -> pd.DataFrame:
    return synthetic.synthetic_table(synthetic.Grid(seeds=3, noise=0.05))


def curve(found: list[Curve], quantity: Quantity, axis: str) -> Curve:
    return next(c for c in found if (c.quantity, c.axis) == (quantity, axis))


# --- one trajectory -----------------------------------------------------------------------------


@pytest.mark.parametrize("centre", [2.0, 33.0, 500.0])
def test_parabola_is_exact_for_a_parabola_in_log_log(centre: float) -> None:
    with np.errstate(divide="ignore"):
        error = 0.3 * np.exp(0.2 * np.log(TIME / centre) ** 2)
    time, value, censored = best(TIME[None], error[None])
    assert time[0] == pytest.approx(centre)
    assert value[0] == pytest.approx(0.3)
    assert not censored[0]


def test_interpolated_minimum_is_better_than_the_recorded_one() -> None:
    """Bias t^-0.8 and variance t^0.6/N: the true minimum by calculus, on a coarse grid."""
    time = np.logspace(0, 3, 16)
    samples = np.linspace(50, 2000, 40)
    error = time[None] ** -0.8 + time[None] ** 0.6 / samples[:, None]
    moment = (0.8 * samples / 0.6) ** (1 / 1.4)
    minimum = moment**-0.8 + moment**0.6 / samples
    found, value, censored = best(np.broadcast_to(time, error.shape), error)
    inner = ~censored
    assert inner.sum() > 30
    interpolated = np.abs(value / minimum - 1)[inner]
    assert interpolated.max() < 0.001
    assert interpolated.max() < 0.1 * np.abs(error.min(axis=1) / minimum - 1)[inner].max()
    assert np.abs(np.log(found / moment))[inner].max() < 0.03


@pytest.mark.parametrize(("power", "at"), [(-0.5, 1000.0), (0.5, 1.0)])
def test_minimum_at_an_end_is_censored(power: float, at: float) -> None:
    with np.errstate(divide="ignore"):
        error = TIME**power
    time, value, censored = best(TIME[None], error[None])
    assert censored[0]
    assert time[0] == pytest.approx(at)
    assert value[0] == pytest.approx(at**power)


def test_nan_after_the_end_of_a_trajectory_changes_nothing() -> None:
    with np.errstate(divide="ignore"):
        error = np.exp(0.2 * np.log(TIME / 30) ** 2)
    pad = np.full(5, np.nan)
    plain = best(TIME[None], error[None])
    padded = best(np.append(TIME, pad)[None], np.append(error, pad)[None])
    for a, b in zip(plain, padded, strict=True):
        assert a == pytest.approx(b)


def test_no_value_gives_nan_without_a_mark() -> None:
    time, value, censored = best(TIME[None], np.full((1, len(TIME)), np.nan))
    assert np.isnan(time[0])
    assert np.isnan(value[0])
    assert not censored[0]


def test_cubic_in_log_time_is_exact_for_cubics_and_close_otherwise() -> None:
    targets = np.array([1.0, 1.5, 40.0, 999.0, 1000.0])
    u = np.log(np.maximum(TIME, 1e-3))  # the value at time 0 is not read
    cubic = np.exp(np.polynomial.polynomial.polyval(u, [0.1, -0.5, 0.05, -0.002]))
    time = np.broadcast_to(TIME, (5, len(TIME)))
    read = at_time(time, np.broadcast_to(cubic, time.shape), targets)
    v = np.log(targets)
    assert read == pytest.approx(np.exp(0.1 - 0.5 * v + 0.05 * v**2 - 0.002 * v**3))
    smooth = 1 / (1 + TIME) ** 0.8 + TIME**0.6 / 500
    read = at_time(time, np.broadcast_to(smooth, time.shape), targets)
    assert read == pytest.approx(1 / (1 + targets) ** 0.8 + targets**0.6 / 500, rel=2e-4)


def test_time_outside_a_trajectory_is_nan() -> None:
    time = np.broadcast_to(TIME, (2, len(TIME)))
    assert np.isnan(at_time(time, time + 1, np.array([0.5, 1001.0]))).all()


def test_short_trajectories_are_interpolated_by_what_they_have() -> None:
    time = np.array([[0.0, 1.0, 4.0, np.nan]])
    values = np.array([[9.0, 1.0, 16.0, np.nan]])
    assert at_time(time, values, np.array([2.0])) == pytest.approx([4.0])


def test_common_time_is_within_every_trajectory() -> None:
    time = np.array([[0.0, 1, 10, 100], [0.0, 0.25, 2.5, 25]])
    assert common_time(time, np.array([8.0, 12.0])) == 10
    assert common_time(time, np.array([80.0, 90.0])) == 25
    assert common_time(time, np.array([0.1, 0.2])) == 1
    assert np.isnan(common_time(time, np.array([np.nan, np.nan])))


# --- a table ------------------------------------------------------------------------------------


def test_padding_follows_steps_and_rows_may_come_in_any_order(table: pd.DataFrame) -> None:
    straight = trials(table)
    mixed = trials(pd.concat([table, table]).sample(frac=1, random_state=0))
    assert len(straight.rows) == table["trial_id"].nunique()
    assert (np.diff(straight.time, axis=1) > 0).all()
    assert (straight.time == mixed.time).all()
    assert (straight.series["score_error"] == mixed.series["score_error"]).all()


def test_curves_of_the_sweeps(table: pd.DataFrame, synthetic: ModuleType) -> None:
    found = curves(table)
    by_axis = {axis: curve(found, Quantity.BEST_ERROR, axis) for axis in ("samples", "width")}
    assert by_axis["samples"].levels == 7
    assert by_axis["width"].levels == 5
    assert curve(found, Quantity.ERROR_AT_TIME, "step_size").levels == 3
    n = by_axis["samples"]
    assert len(n.x) == 21
    assert not n.linked
    assert by_axis["width"].linked
    assert n.fixed["width"] == 4096
    assert "samples" not in n.fixed
    times = curve(found, Quantity.BEST_TIME, "samples")
    planted = np.array([synthetic.best_time(v) for v in times.x])
    assert np.abs(np.log(times.y / planted)).max() < 0.02
    values = np.array([synthetic.best_error(v, 4096) for v in n.x])
    assert np.log(n.y / values).mean() == pytest.approx(0, abs=0.05)
    coupling = curve(found, Quantity.COUPLING_AT_TIME, "width")
    assert coupling.effective_time is not None
    assert np.ptp(np.log(coupling.y * coupling.x)) < 0.4
    assert not [c for c in found if c.axis == INVERSE_T_MIN]


def test_selection_on_one_half_is_read_on_the_other() -> None:
    """Noise that is independent between halves: the selected minimum is low, the assessed not."""
    rng = np.random.default_rng(0)
    with np.errstate(divide="ignore"):
        truth = np.exp(0.02 * np.log(np.maximum(TIME, 1e-9) / 30) ** 2)
    frames = []
    for seed in range(40):
        for samples in (64, 128, 256):
            noise = 0.1 * rng.standard_normal((2, len(TIME)))
            frames.append(
                pd.DataFrame(
                    {
                        "trial_id": f"{seed}-{samples}",
                        "law": "l",
                        "law_id": "l",
                        "dimension": 2,
                        "samples": samples,
                        "width": 64,
                        "step_size": 1.0,
                        "seed": seed,
                        "status": "completed",
                        "step": np.arange(len(TIME)),
                        "effective_time": TIME,
                        "score_error": truth * np.exp(noise[0]),
                        "score_error_select": truth * np.exp(noise[0]),
                        "score_error_assess": truth * np.exp(noise[1]),
                    }
                )
            )
    found = curves(pd.concat(frames))
    selected = curve(found, Quantity.BEST_ERROR, "samples")
    assessed = curve(found, Quantity.BEST_ERROR_ASSESSED, "samples")
    assert np.log(selected.y).mean() < -0.1
    assert np.log(assessed.y).mean() > 0.0


def test_diverged_failed_and_missing_are_counted(table: pd.DataFrame) -> None:
    spoilt = table.copy()
    rows = trials(table).rows
    base = rows[(rows["width"] == 4096) & (rows["step_size"] == 1.0)]
    ids = {n: base[base["samples"] == n]["trial_id"].tolist() for n in (64, 128, 256)}
    spoilt.loc[spoilt["trial_id"] == ids[64][0], "status"] = "diverged"
    spoilt.loc[spoilt["trial_id"].isin(ids[128][:2]), "status"] = "failed"
    spoilt.loc[spoilt["trial_id"] == ids[256][0], "score_error"] = np.nan
    n = curve(curves(spoilt), Quantity.BEST_ERROR, "samples")
    assert n.diverged == (64.0,)
    assert n.failed == (128.0, 128.0)
    assert n.missing == (256.0,)
    assert len(n.x) == 21 - 4


def test_a_failed_trial_with_one_bare_row_is_counted(table: pd.DataFrame) -> None:
    bare = table[table["step"] == 0].head(1).copy()
    bare["trial_id"], bare["seed"], bare["status"] = "bare", 99, "failed"
    bare["score_error"] = np.nan
    found = curves(pd.concat([table, bare], ignore_index=True))
    n = curve(found, Quantity.BEST_ERROR, "samples")
    assert len(n.failed) == 1
    assert len(n.x) == 21


def test_quantities_that_were_not_asked_for_make_no_curve(synthetic: ModuleType) -> None:
    found = curves(synthetic.synthetic_table(synthetic.Grid(seeds=2, kernel=False)))
    names = {c.quantity for c in found}
    assert Quantity.COUPLING_AT_TIME not in names
    assert Quantity.KERNEL_BEST_ERROR not in names
    assert Quantity.BEST_ERROR in names


def test_groups_differ_by_what_is_held_fixed_largest_first(synthetic: ModuleType) -> None:
    one = synthetic.synthetic_table(synthetic.Grid(seeds=2))
    other = synthetic.synthetic_table(
        synthetic.Grid(seeds=2, samples=(64, 128, 256), base=(512, 1024, 1.0))
    )
    found = [
        c
        for c in curves(pd.concat([one, other], ignore_index=True))
        if (c.quantity, c.axis) == (Quantity.BEST_ERROR, "samples")
    ]
    assert [c.fixed["width"] for c in found] == [4096, 1024]
    assert [c.levels for c in found] == [7, 4]


def test_unknown_configuration_splits_no_group(table: pd.DataFrame) -> None:
    other = table.copy()
    other["schedule"], other["t_max"] = None, np.nan
    n = curve(curves(other), Quantity.BEST_ERROR, "samples")
    assert len(n.x) == 21
    assert n.fixed["schedule"] is None
    assert n.fixed["t_max"] is None


@pytest.mark.slow
def test_laws_are_kept_apart(synthetic: ModuleType) -> None:
    grid = synthetic.Grid(seeds=2, laws=("gaussian_mixture", "atoms"), dimensions=(1, 2))
    found = [
        c
        for c in curves(synthetic.synthetic_table(grid))
        if (c.quantity, c.axis) == (Quantity.BEST_ERROR, "samples")
    ]
    assert len({(c.law_id, c.dimension) for c in found}) == 4
    assert all(len(c.x) == 14 for c in found)


def test_final_error_counts_only_where_the_noise_is_fitted(synthetic: ModuleType) -> None:
    table = synthetic.synthetic_table(synthetic.Grid(seeds=2, steps=300))
    noise_level = 0.5 * 0.3 * 2
    small = table["samples"] <= 256
    share = np.where(small, 0.9, 1.1) * INTERPOLATED
    table["train_loss"] = share * noise_level
    final = curve(curves(table), Quantity.FINAL_ERROR, "samples")
    assert set(final.x[~final.censored]) == {n for n in final.x if n <= 256}
    assert final.censored.any()


def test_empty_table_has_no_curves(table: pd.DataFrame) -> None:
    assert curves(table.iloc[:0]) == []


# --- trials of infinite width beside a curve ------------------------------------------------------


@pytest.fixture(scope="module")
def beside(synthetic: ModuleType) -> pd.DataFrame:
    return synthetic.synthetic_table(synthetic.Grid(seeds=3, limits=20, own=0.03, noise=0.1))


def over_n(frame: pd.DataFrame, quantity: Quantity, width: float = 4096) -> Curve:
    return next(
        c
        for c in curves(frame)
        if (c.quantity, c.axis, c.fixed["width"]) == (quantity, "samples", width)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "quantity", [Quantity.BEST_ERROR, Quantity.BEST_TIME, Quantity.KERNEL_BEST_ERROR]
)
def test_a_curve_over_n_knows_the_limit_on_its_data_and_on_more(
    beside: pd.DataFrame, quantity: Quantity
) -> None:
    network, limit = over_n(beside, quantity), over_n(beside, quantity, np.inf)
    control = network.control
    assert control is not None
    assert limit.control is None
    assert len(control.own_x) == 20 * 7
    assert sorted(zip(control.own_x, control.own_y, strict=True)) == sorted(
        zip(limit.x, limit.y, strict=True)
    )
    place = {data: i for i, data in enumerate(control.own_seed)}
    assert len(place) == 20 * 7
    partners = [place[data] for data in control.seed]
    assert (control.own_x[partners] == network.x).all()
    ratio = network.y / control.own_y[partners]
    assert np.abs(np.log(ratio / np.median(ratio))).max() < 0.2  # 10 % noise is shared, 3 % not


def test_the_limit_is_read_at_the_networks_common_time(beside: pd.DataFrame) -> None:
    network, limit = (
        over_n(beside, Quantity.ERROR_AT_TIME),
        over_n(beside, Quantity.ERROR_AT_TIME, np.inf),
    )
    assert network.effective_time != limit.effective_time
    table = trials(beside)
    rows = table.rows
    where = np.flatnonzero(np.isinf(rows["width"]) & (rows["samples"] == 64))
    moment = np.full(len(where), network.effective_time)
    read = at_time(table.time[where], table.series["score_error"][where], moment)
    assert network.control is not None
    assert sorted(network.control.own_y[network.control.own_x == 64]) == pytest.approx(sorted(read))


def test_only_curves_over_n_have_a_limit_beside_them(beside: pd.DataFrame) -> None:
    for one in curves(beside):
        wanted = one.axis == "samples" and np.isfinite(one.fixed["width"])
        has_none = (Quantity.FINAL_ERROR, Quantity.COUPLING_AT_TIME)
        assert (one.control is not None) == (wanted and one.quantity not in has_none)


def test_networks_come_before_their_limits(beside: pd.DataFrame) -> None:
    widths = [c.fixed["width"] for c in curves(beside) if c.axis == "samples"]
    first = widths.index(np.inf)
    assert first > 0
    assert set(widths[first:]) == {np.inf}


def test_limits_of_other_data_features_or_step_sizes_are_not_beside(beside: pd.DataFrame) -> None:
    infinite = np.isinf(beside["width"])
    for name, value in (("step_size", 0.5), ("feature_bias", False), ("t_min", 0.01)):
        other = beside.copy()
        other.loc[infinite, name] = value
        assert over_n(other, Quantity.BEST_ERROR).control is None
    other = beside.copy()
    other.loc[infinite, "data_id"] += "x"
    control = over_n(other, Quantity.BEST_ERROR).control
    assert control is not None
    assert not set(control.seed) & set(control.own_seed)


def test_levels_where_a_limit_diverged_or_was_censored_are_left_out(beside: pd.DataFrame) -> None:
    frame = beside.copy()
    infinite = np.isinf(frame["width"]) & (frame["seed"] == 15)
    frame.loc[infinite & (frame["samples"] == 64), "status"] = "diverged"
    late = infinite & (frame["samples"] == 256) & (frame["effective_time"] > 3)
    frame.loc[late, "score_error"] = np.nan
    frame.loc[infinite & (frame["samples"] == 512), "status"] = "failed"
    control = over_n(frame, Quantity.BEST_ERROR).control
    assert control is not None
    count = {n: int((control.own_x == n).sum()) for n in (64, 128, 256, 512)}
    assert count == {64: 0, 128: 20, 256: 0, 512: 19}


def test_a_data_set_counts_once_at_a_level(beside: pd.DataFrame) -> None:
    """A trial again with other test points is no second seed; one that failed gives way to it."""
    first = beside["trial_id"].isin(over_n_ids(beside))
    again = beside[first].assign(trial_id="~" + beside["trial_id"])
    again["score_error"] *= 1.01
    both = pd.concat([beside, again], ignore_index=True)
    for width in (4096, np.inf):
        whole, twice = (over_n(t, Quantity.BEST_ERROR, width) for t in (beside, both))
        assert twice.y.tolist() == whole.y.tolist()
    limits, again_ = (over_n(t, Quantity.BEST_ERROR).control for t in (beside, both))
    assert limits is not None
    assert again_ is not None
    assert sorted(again_.own_y) == sorted(limits.own_y)
    both.loc[both["trial_id"].isin(over_n_ids(beside)), "status"] = "failed"
    given = over_n(both, Quantity.BEST_ERROR)
    assert given.failed == ()
    assert given.y == pytest.approx(1.01 * over_n(beside, Quantity.BEST_ERROR).y)


def over_n_ids(frame: pd.DataFrame) -> set[str]:
    """The trials of the base's step size at its width and at infinite width."""
    own = frame[(frame["step_size"] == 1.0) & frame["width"].isin([4096, np.inf])]
    return set(own["trial_id"])


# --- the test set's own error ---------------------------------------------------------------------


def test_the_kernels_best_error_and_time_have_the_test_sets_error_at_infinite_width(
    beside: pd.DataFrame,
) -> None:
    """There they are those of the trial itself; beside a network no column holds the groups."""
    uneven = beside[np.isfinite(beside["width"]) | (beside["seed"] < 4)].copy()
    for i in range(1, TEST_GROUPS + 1):
        tilt = uneven["effective_time"] ** (0.01 * (2 * i - TEST_GROUPS - 1))
        uneven[f"score_error_group{i}"] = uneven["score_error"] * tilt
    for kernel, own in (
        (Quantity.KERNEL_BEST_ERROR, Quantity.BEST_ERROR),
        (Quantity.KERNEL_BEST_TIME, Quantity.BEST_TIME),
    ):
        limit, trial = over_n(uneven, kernel, np.inf), over_n(uneven, own, np.inf)
        assert limit.without is not None
        assert trial.without is not None
        assert limit.y.tolist() == trial.y.tolist()
        assert limit.without.tolist() == trial.without.tolist()
        assert fit_curve(limit).test_set is not None
        network = over_n(uneven, kernel)
        assert network.without is None
        assert network.control is not None
        assert network.control.own_without is None
    assert over_n(uneven, Quantity.BEST_ERROR).without is not None
