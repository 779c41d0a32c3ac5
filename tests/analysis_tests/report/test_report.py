"""The report: what it says, that it is whole and safe, and its downloads."""

from __future__ import annotations

import base64
import copy
import io
import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.data.results import load_results
from analysis.data.sweeps import law_names, settings
from analysis.figures.rates.answer import groups
from analysis.figures.study import study_plots
from analysis.fits.asymptotic import Asymptotic
from analysis.fits.power_law import PowerLawFit
from analysis.report.assumptions import assumption_rows
from analysis.report.overview import trial_table
from analysis.report.page import write_report
from analysis.report.redraw import redraw
from analysis.report.wording import badge, lead, leads, power, tally
from analysis.text import interval, minus, number
from analysis.verdicts.evaluation import Evaluation, evaluate
from analysis.verdicts.judging import Verdict
from analysis.verdicts.judging import Word as W
from trainers.columns import COLUMNS

pytestmark = pytest.mark.slow

SPEC = "name: <b>bold</b>\nlaw: {kind: gaussian_mixture}\n# </code><script>alert(1)</script>\n"
VOID = {"meta", "link", "br", "hr", "img", "input"}
HOSTILE = "out of memory: <i>lower</i> the width & try again"


class Page(HTMLParser):
    """Checks that tags are closed in order; collects attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join("".join(self.text).split())


@pytest.fixture(scope="module")
def frame(synthetic: ModuleType) -> pd.DataFrame:
    table: pd.DataFrame = synthetic.synthetic_table(
        synthetic.Grid(noise=0.05, seeds=4, study="rates of a <mixture>")
    )
    failed = (table["step_size"] == 0.5) & (table["seed"] == 3)
    table.loc[failed, "status"] = "failed"
    table.loc[failed, "message"] = HOSTILE
    broken = (table["step_size"] == 0.25) & (table["seed"] == 2)
    table.loc[broken, "status"] = "diverged"
    table.loc[broken, "diverged_step"] = 17
    return table


@pytest.fixture(scope="module")
def verdicts(frame: pd.DataFrame) -> Evaluation:
    return evaluate(frame)


@pytest.fixture(scope="module")
def folder(
    frame: pd.DataFrame, verdicts: Evaluation, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    place = tmp_path_factory.mktemp("study")
    frame.to_parquet(place / "results.parquet")
    assert write_report(place, verdicts, SPEC) == place / "report.html"
    return place


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text())


def test_the_answer_comes_first(page: Page) -> None:
    """A sentence a law, then all exponents and the curve, then the verdicts."""
    told = unbroken(page.words)
    told = told[told.index("On gaussian_mixture, d = 2") :].split("Each row unfolds")[0]
    assert told.startswith("On gaussian_mixture, d = 2 the best-stopped score error falls as")
    assert told.count(" falls as ") == 1
    assert "Every exponent against theory" in told
    exponent = r"N ?−0\.6\d+ ?\(95 % interval 0\.6\d+ to 0\.6\d+"
    assert re.search(exponent + r"(, 0\.\d+ to 0\.\d+ at large N)?, \d seeds\)", told)
    assert "faster than the bound N−0.40." in told


def test_numbers_are_written_as_in_a_paper(page: Page) -> None:
    assert minus("p = 5.7e-08, 2e+09 and -0.5e+10") == "p = 5.7 × 10⁻⁸, 2 × 10⁹ and −0.5 × 10¹⁰"
    assert minus("the 2e of x^-b, seed 1e5") == "the 2e of x^-b, seed 1e5"
    prose = page.words[page.words.index("On gaussian") :].split("Reproduce it")[0]
    assert not re.findall(r"\d(?:\.\d+)?e[+-]\d+", prose)
    assert not re.findall(r"\d%", prose)
    assert "samples = " not in prose


def test_cells_of_stacked_tables_name_their_column(page: Page) -> None:
    """On a phone each cell stands under the next, behind its column's name."""
    inside, cells = False, 0
    for tag, attributes in page.tags:
        if tag == "table":
            inside = "stack" in (attributes.get("class") or "").split()
        if tag == "td" and inside:
            cells += 1
            assert attributes.get("data-label")
    assert cells > 20


def test_the_page_needs_no_network(page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "img"}
        for name in ("src", "href", "xlink:href"):
            target = attributes.get(name) or ""
            linked = tag == "a" and target.startswith("https://")  # a paper, where one clicks
            assert linked or not re.match(r"(https?:)?//", target), target
    css = "".join(page.text)
    assert "@import" not in css
    assert not re.search(r"url\((?!#)", css)


def test_text_of_the_study_is_escaped(page: Page, folder: Path) -> None:
    raw = (folder / "report.html").read_text()
    assert "<script" not in raw
    assert "<i>lower" not in raw
    assert HOSTILE in page.words
    assert "rates of a <mixture>" in page.words
    assert "".join(page.text).count(SPEC) == 1


def test_ids_are_unique_and_links_within_the_page_lead_somewhere(page: Page) -> None:
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        for name in ("href", "xlink:href", "aria-labelledby"):
            value = attributes.get(name) or ""
            target = value.removeprefix("#")
            if (name == "aria-labelledby" and value) or value.startswith("#"):
                assert target in ids


def test_files_that_the_page_links_to_are_there(page: Page, folder: Path) -> None:
    outside = ("data:", "https:")
    links = {a["href"] for t, a in page.tags if t == "a" and not str(a["href"]).startswith(outside)}
    assert links
    ids = {a.get("id") for _, a in page.tags}
    for link in map(str, links):
        if link.startswith("#"):
            assert link[1:] in ids
        else:
            assert (folder / link).stat().st_size > 0
    names = {p.name for p in folder.rglob("*")}
    assert not [n for n in names if n.startswith(".")], "temporary files are left"


def test_figures_have_text_for_those_who_cannot_see_them(page: Page) -> None:
    pictures = [a for t, a in page.tags if t == "svg" and a.get("aria-hidden") != "true"]
    assert len(pictures) > 10
    assert all(a.get("role") == "img" and len(str(a.get("aria-label"))) > 20 for a in pictures)


def stored(folder: Path, files: dict[str, bytes], name: str) -> bytes:
    """On the page, or, where it is too large for that, beside it."""
    return files[name] if name in files else (folder / "figures" / name).read_bytes()


def test_numbers_can_be_downloaded(
    page: Page, folder: Path, verdicts: Evaluation, frame: pd.DataFrame
) -> None:
    files = {
        str(a["download"]): base64.b64decode(str(a["href"]).split("base64,")[1])
        for t, a in page.tags
        if t == "a" and "base64," in str(a.get("href"))
    }
    assert json.loads(stored(folder, files, "verdicts.json")) == [v.to_dict() for v in verdicts]
    assert len(pd.read_csv(io.BytesIO(stored(folder, files, "verdicts.csv")))) == len(verdicts)
    for plot in study_plots(verdicts)[0]:
        numbers = pd.read_csv(folder / "figures" / f"{plot.name}.csv")
        np.testing.assert_allclose(numbers["y"], plot.table["y"])
    trials = pd.read_csv(io.BytesIO(stored(folder, files, "trials.csv")))
    assert len(trials) == frame["trial_id"].nunique()


def test_trials_without_a_result_are_listed(page: Page) -> None:
    assert "failed: 1" in page.words
    assert "diverged: 1" in page.words
    rows = page.words[page.words.index("Trials by status") :]
    assert re.search(r"η = 0\.25, seed 2\s*diverged\s*17", rows)


def test_trials_are_summarised_by_their_best_and_last_step(frame: pd.DataFrame) -> None:
    table = trial_table(frame).set_index("trial_id")
    one = frame[frame["trial_id"] == table.index[3]]
    assert table["best_recorded_score_error"].iloc[3] == one["score_error"].min()
    assert table["last_score_error"].iloc[3] == one["score_error"].iloc[-1]
    assert table["last_step"].iloc[3] == 1000


@pytest.mark.usefixtures("fingerprints")
def test_a_study_without_rates_or_results_still_has_a_report(
    synthetic: ModuleType, tmp_path: Path
) -> None:
    one = synthetic.synthetic_table(
        synthetic.Grid(samples=(512,), widths=(4096,), step_sizes=(1.0,), seeds=1, kernel=False)
    )
    said = Page(write_report(tmp_path / "one", evaluate(one)).read_text()).words
    assert "No prediction can be judged on this table: a rate needs at least three values" in said
    assert "the study has a single value of N" in said
    few = synthetic.synthetic_table(
        synthetic.Grid(samples=(256, 512, 1024), widths=(), step_sizes=(), seeds=2, kernel=False)
    )
    said = Page(write_report(tmp_path / "few", evaluate(few)).read_text()).words
    assert "judged on this table; what each needs is said further down" in said
    assert "at least three values" not in said
    assert "needs 5 values of N or more" in said
    nothing = one.assign(status="failed", message="no memory", score_error=np.nan)
    said = Page(write_report(tmp_path / "none", evaluate(nothing)).read_text()).words
    assert "failed: 1" in said
    assert "no memory" in said
    empty = Page(write_report(tmp_path / "empty", evaluate(one.iloc[:0])).read_text()).words
    assert "No prediction can be judged" in empty


def test_figures_can_be_redrawn_by_their_script(folder: Path) -> None:
    picture = folder / "figures" / "gaussian_mixture_d2_collapse.svg"
    paper = picture.with_suffix(".pdf")
    before = picture.read_bytes(), paper.read_bytes()
    picture.unlink()
    paper.unlink()
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, str(folder / "figures" / "redraw.py"), "collapse"],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )
    assert done.stdout.split() == ["gaussian_mixture_d2_collapse"]
    assert (picture.read_bytes(), paper.read_bytes()) == before
    assert b"/Type3" not in before[1]


def test_all_figures_are_redrawn_with_the_rules_of_the_report(
    frame: pd.DataFrame, tmp_path: Path
) -> None:
    frame.to_parquet(tmp_path / "results.parquet")
    place = tmp_path / "figures"
    write_report(tmp_path, evaluate(frame, stopping=["oracle", "holdout"]))
    before = {p: p.read_bytes() for p in place.iterdir()}
    assert set(redraw(place)) == {p.stem for p in place.glob("*.svg")}
    assert {p: p.read_bytes() for p in place.iterdir()} == before
    titled: list[str] = []

    def change(name: str, figure: Any) -> None:
        titled.append(name)
        figure.axes[0].set_title("mine")

    assert redraw(place / "redraw.py", ["stopping", "collapse"], change) == titled
    changed = {p.stem for p, old in before.items() if p.read_bytes() != old}
    assert changed == set(titled)
    assert len(titled) == 2


def test_the_report_loads_neither_torch_nor_ray() -> None:
    code = "import sys, analysis.report.page; print({'torch', 'ray', 'mlflow'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.strip() == "set()"


def test_the_same_table_read_back_gives_the_same_numbers(
    folder: Path, frame: pd.DataFrame, verdicts: Evaluation
) -> None:
    again = load_results(folder / "results.parquet")
    read = evaluate(again)
    assert [v.to_dict() for v in read] == [v.to_dict() for v in verdicts]
    first, second = study_plots(verdicts)[0], study_plots(read)[0]
    assert [p.name for p in first] == [p.name for p in second]
    for one, other in zip(first, second, strict=True):
        pd.testing.assert_frame_equal(one.table, other.table)
        assert one.caption == other.caption


# --- words --------------------------------------------------------------------------------------


def bound(verdicts: Evaluation) -> Verdict:
    return next(v for v in verdicts if v.quantity == "best_score_error")


def test_each_verdict_differs_in_words_and_symbol(verdicts: Evaluation) -> None:
    badges = [badge(replace(bound(verdicts), verdict=w)) for w in W]
    assert len({b.words for b in badges}) == len(W)
    assert badge(replace(bound(verdicts), verdict=W.VIOLATES)).tone == "bad"
    symbols = {b.tone: {x.symbol for x in badges if x.tone == b.tone} for b in badges}
    assert not set.intersection(*symbols.values())


def unbroken(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def with_limits(fit: PowerLawFit, low: float, high: float, bent: bool = True) -> PowerLawFit:
    made = copy.copy(fit)
    vars(made)["asymptotic"] = Asymptotic((low + high) / 2, low, high, 0.95, not bent, bent)
    return made


def test_the_first_sentence(verdicts: Evaluation) -> None:
    def told(verdict: Verdict) -> str:
        return unbroken(str(lead(("cube", 2), verdict)))

    start = replace(bound(verdicts), exponent=0.65, ci_low=0.61, ci_high=0.69, seeds=8)
    start = replace(start, fitted=with_limits(start.fitted, 0.61, 0.69, bent=False))
    assert told(replace(start, verdict=W.FASTER)) == (
        "On cube, d = 2 the best-stopped score error falls as N<sup>−0.65</sup> (95 % interval "
        "0.61 to 0.69, 8 seeds): <strong>faster than the bound</strong> N<sup>−0.40</sup>."
    )
    said = told(replace(start, verdict=W.VIOLATES, theory_exponent=0.8))
    assert "slower than the bound, which it violates" in said
    said = told(replace(start, verdict=W.UNDETERMINED))
    assert said.endswith("<strong>undetermined</strong>, theory says at least 0.40.")
    time = next(v for v in verdicts if v.quantity == "best_effective_time")
    said = told(replace(time, exponent=-0.84, ci_low=-0.9, ci_high=-0.78))
    assert "grows as N<sup>0.84</sup> (95 % interval 0.78 to 0.90" in said
    flat = next(v for v in verdicts if v.axis == "step_size")
    said = told(replace(flat, verdict=W.AGREES, reason="means differ by 1 %"))
    assert "<sup>" not in said
    assert "“no change”" in said
    limit = replace(start, fixed={**start.fixed, "width": np.inf})
    assert "the best-stopped score error at infinite width falls" in told(limit)
    bends = with_limits(start.fitted, 0.42, 0.58)
    said = told(replace(start, fitted=bends))
    assert "(95 % interval 0.61 to 0.69, 0.42 to 0.58 at large N, 8 seeds)" in said
    grows = with_limits(start.fitted, -0.58, -0.42)
    said = told(replace(start, fitted=grows, exponent=-0.6, ci_low=-0.7, ci_high=-0.5))
    assert "(95 % interval 0.50 to 0.70, 0.42 to 0.58 at large N, 8 seeds)" in said
    refused = replace(start, exponent=np.nan, verdict=W.UNDETERMINED, reason="2 values only")
    assert "against N has no exponent" in told(refused)


def test_of_many_laws_the_study_has_one_sentence(verdicts: Evaluation) -> None:
    one = bound(verdicts)
    many = {("cube", d): [replace(one, exponent=0.9 - d / 10)] for d in range(1, 7)}
    ((shown, said),) = leads(many)
    assert shown == badge(one)
    assert "Over 6 laws and dimensions" in said
    assert "from 0.30 (cube, d = 6) to 0.80 (cube, d = 1)" in unbroken(str(said))
    assert len(leads({key: many[key] for key in list(many)[:2]})) == 2


def test_the_tally_counts_every_verdict(page: Page, verdicts: Evaluation) -> None:
    found = tally(verdicts)
    assert sum(count for _badge, count in found) == len(verdicts)
    assert all(count > 0 for _badge, count in found)
    for one, count in found:
        assert f"{one.words}: {count}" in page.words


def test_formulas_are_typeset(page: Page) -> None:
    said = page.words[page.words.index("On gaussian") : page.words.index("Reproduce it")]
    assert not re.search(r"\w\^|\b[A-Za-z]_[A-Za-z]\b|\de-\d", said)
    tags = Counter(tag for tag, _ in page.tags)
    assert min(tags["sup"], tags["sub"]) > 5


def test_numbers_in_words() -> None:
    assert number(-0.004) == "0.00"
    assert number(-0.8) == "−0.80"
    assert number(np.nan) == "–"
    assert number(np.inf) == "∞"
    assert interval(0.651, 0.653) == "0.651 to 0.653"
    assert interval(0.6, 0.7) == "0.60 to 0.70"
    assert interval(np.nan, 1) == "–"
    assert str(power("width", 1.0)) == "m<sup>−1.00</sup>"


def test_laws_of_one_kind_are_told_apart(frame: pd.DataFrame, verdicts: Evaluation) -> None:
    assert set(law_names(frame).values()) == {"gaussian_mixture"}
    other = frame.assign(law_id="0" * 16, law_label="gaussian_mixture[std=0.5]")
    names = law_names(pd.concat([frame, other]))
    assert names["0" * 16] == "gaussian_mixture[std=0.5]"
    assert len(set(names.values())) == 2
    assert list(groups(verdicts, law_names(frame))) == [("gaussian_mixture", 2)]


def test_the_audit_reports_planted_movements(frame: pd.DataFrame) -> None:
    rows = {r.assumption: r.measured for r in assumption_rows(settings(frame)[0])}
    moved = next(v for k, v in rows.items() if "flipped" in k)
    assert f"{0.02 * np.sqrt(1000 / 64):.3g} at m = 64" in moved
    noise = next(v for k, v in rows.items() if "stopping rules" in k)
    assert noise == "0.3 (exact)"


TEXTS = [c.name for c in COLUMNS if c.type == "string" and c.name not in ("trial_id", "status")]
EVIL = "../../x/\x1b[2J\x00<script>alert(1)</script>$\\frac{$[/b]\u202e"


def test_text_of_a_table_from_anybody_is_only_text(
    fingerprints: None, synthetic: ModuleType, tmp_path: Path
) -> None:
    grid = synthetic.Grid(
        samples=(64, 128, 256), widths=(64, 256), step_sizes=(1.0,), seeds=3, recorded=12,
        kernel=False,
    )  # fmt: skip
    frame = synthetic.synthetic_table(grid)
    for column in TEXTS:
        frame[column] = EVIL + frame[column].fillna("")
    path = tmp_path / "in" / "results.parquet"
    path.parent.mkdir()
    frame.to_parquet(path)
    table = load_results(path)
    for column in TEXTS:
        assert not table[column].str.contains("[\x00-\x1f\u202e]", regex=True).any()
    folder = tmp_path / "out"
    page = write_report(folder, evaluate(table)).read_text()
    Page(page)  # its tags are closed in order
    assert "<script>alert" not in page
    assert len(list((folder / "figures").glob("*.svg"))) > 3
    written = {p.resolve().parent for p in tmp_path.rglob("*") if p.is_file()}
    assert written <= {path.parent, folder, folder / "figures"}
