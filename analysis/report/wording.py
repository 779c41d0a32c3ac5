"""Verdicts in the words of a paper: sentences, cells, symbols. HTML-safe strings, nothing drawn.

Every text that comes from a study or a law is escaped here (`markupsafe`); a sentence is Markup
because exponents are superscripts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from analysis.data.curves.quantity import OF_THE_KERNEL, Quantity
from analysis.data.sweeps import (
    PLAIN,
    apart,
    data_file,
    family,
    noise_label,
    rows_of,
    usual_noise,
)
from analysis.figures.rates.answer import Group, answers, over_draws_of, setting_of
from analysis.report.typeset import typeset
from analysis.text import counted, digits, interval, minus, number, percent, share
from analysis.theory import Kind
from analysis.verdicts.assumed import Holds
from analysis.verdicts.infinite_width import at_least
from analysis.verdicts.judging import Verdict, Word

QUANTITIES: dict[str, str] = {
    Quantity.BEST_ERROR: "best-stopped score error",
    Quantity.BEST_ERROR_ASSESSED: "best-stopped score error (assessed on held-back test points)",
    Quantity.BEST_ERROR_UNWEIGHTED: "unweighted score error at the best step",
    Quantity.BEST_TIME: "best effective stopping time",
    Quantity.FINAL_ERROR: "score error at the last step",
    Quantity.INTERPOLATION_ERROR: "score error of the kernel that is never stopped",
    Quantity.ERROR_AT_TIME: "score error at a fixed effective time",
    Quantity.COUPLING_AT_TIME: "squared distance between network and kernel",
    Quantity.KERNEL_BEST_ERROR: "kernel's best-stopped score error",
    Quantity.KERNEL_BEST_TIME: "kernel's best effective time",
    Quantity.GENERALIZATION_TIME: "generalization time",
    Quantity.MEMORIZATION_TIME: "memorization time",
    Quantity.MEMORIZATION_RATIO: "memorization time over generalization time",
    Quantity.MEMORIZER: "memorizer's score error",
    Quantity.EMPIRICAL_BAYES: "score error of empirical Bayes, without training,",
    Quantity.EMPIRICAL_BAYES_UNWEIGHTED: "unweighted score error of empirical Bayes",
    Quantity.EMPIRICAL_BAYES_BEST: "score error of empirical Bayes with the best cut-off",
    Quantity.SAMPLE_DIVERGENCE: "divergence of samples",
    Quantity.GIRSANOV_RATIO: "divergence of samples over Girsanov's bound",
    Quantity.APPROXIMATION: "approximation error",
    Quantity.NTK_EIGENVALUE: "kernel's eigenvalue",
}


@dataclass(frozen=True)
class Badge:
    """A verdict for the eye: a symbol and words beside the colour; `tone` picks the colour."""

    symbol: str
    words: str
    tone: str


_BADGES = {
    Word.CONSISTENT: Badge("✓", "consistent with the bound", "good"),
    Word.FASTER: Badge("▲", "faster than the bound", "good"),
    Word.VIOLATES: Badge("✗", "violates the bound", "bad"),
    Word.AGREES: Badge("✓", "agrees", "good"),
    Word.DISAGREES: Badge("✗", "disagrees", "bad"),
    Word.UNDETERMINED: Badge("?", "undetermined", "open"),
}

MEANINGS = (
    ("▲ faster than the bound", "the whole interval lies above the exponent that theory promises"),
    (
        "✓ consistent with the bound",
        "the interval holds the bound, and no clear violation is compatible with it",
    ),
    ("✗ violates the bound", "the whole interval lies below the promised exponent"),
    ("✓ agrees", "the whole interval lies within the stated margin of theory's value"),
    ("✗ disagrees", "the whole interval lies outside that margin"),
    (
        "? undetermined",
        "the data cannot decide: the reason says what would (more seeds, a longer range)",
    ),
)
"""What each verdict means, for the page's legend."""


def badge(verdict: Verdict) -> Badge:
    return _BADGES[verdict.verdict]


def as_text(html: Markup) -> str:
    """For a terminal: a superscript after `^`, no tags."""
    return html.replace(Markup("<sup>"), Markup("^")).striptags()


def power(axis: str, b: float, places: int = 2) -> Markup:
    """axis^-b with a superscript: `N<sup>−0.65</sup>`."""
    return Markup("{}<sup>{}</sup>").format(typeset(PLAIN.get(axis, axis)), number(-b, places))


def infinite_width(verdict: Verdict) -> str:
    """The rate at infinite width with its interval: `0.66 (0.61 to 0.72)`; empty without one."""
    wide = verdict.infinite_width
    if wide is None or math.isnan(wide.exponent):
        return ""
    places = digits(wide.ci_low, wide.ci_high)
    return f"{number(wide.exponent, places)} ({interval(wide.ci_low, wide.ci_high)})"


def adjustment(verdicts: Sequence[Verdict]) -> str:
    """What the adjusted intervals are; empty where there is nothing to adjust for."""
    if len(verdicts) < 2:
        return ""
    first = verdicts[0]
    return (
        f"Adjusted intervals are at {100 * first.adjusted_level:.4g} %: with {len(verdicts)} "
        "questions asked, the share of wrong intervals to expect among those that decide is then "
        f"still {share(round(1 - first.level, 9))} (false coverage rate, Benjamini and Yekutieli "
        "2005; proved for independent estimates)."
    )


def theory(verdict: Verdict) -> Markup:
    """What theory says, as a cell: `at least 0.40`, `0.00 (±5 %)`."""
    b = number(verdict.theory_exponent)
    if verdict.kind == Kind.BOUND:
        return Markup("at least {}").format(b)
    if verdict.kind == Kind.QUALITATIVE:
        stopped = "" if verdict.own else ", the stopped rate"
        return Markup("below {}{}").format(number(verdict.said), stopped)
    if verdict.kind == Kind.CEILING:
        return Markup("at most {:g} everywhere").format(verdict.threshold)
    if flat(verdict):
        return Markup("no change (within {})").format(_unbroken(verdict))
    return Markup("{} (within {})").format(b, _unbroken(verdict))


def _unbroken(verdict: Verdict) -> str:
    """The margin in percent, kept on one line."""
    return percent(verdict.margin).replace(" ", "\N{NO-BREAK SPACE}")


def tally(verdicts: Sequence[Verdict]) -> list[tuple[Badge, int]]:
    """How often each verdict was reached, those that were not left out."""
    counts = Counter(v.verdict for v in verdicts)
    return [(_BADGES[word], counts[word]) for word in Word if counts[word]]


def broken(verdict: Verdict) -> str:
    """What the verdict's theory assumes and the study does not meet: `the theory assumes bounded
    support; here infinite radius (gaussian_mixture)`; empty where there is nothing."""
    told = [
        f"{one.name}; here {one.finding}" if one.finding else f"{one.name}, which is not so here"
        for one in verdict.assumptions
        if one.holds is Holds.NO
    ]
    return f"the theory assumes {'. It assumes '.join(told)}" if told else ""


def assumed(verdict: Verdict) -> str:
    """Each assumption and what was found of it: `bounded support: yes, radius 1.4; ...`."""
    told = []
    for one in verdict.assumptions:
        finding = f", {one.finding}" if one.finding else ""
        told.append(f"{one.name}: {one.holds}{finding}")
    return minus("; ".join(told))


def where(verdict: Verdict, beside: Sequence[Verdict] = ()) -> str:
    """What the curve holds fixed, in words, with what tells it from the curves `beside` it."""
    text = verdict.held
    if "effective_time" in verdict.fixed:
        text += f", ητ = {verdict.fixed['effective_time']:.3g}"
    if verdict.draws:
        text += f", {len(verdict.draws)} draws"
    text += f", {apart(verdict.fixed, [one.fixed for one in beside])}"
    return text.strip(", ")


def data(verdict: Verdict) -> str:
    """What the fit stands on: `8 seeds at 7 values, 64 to 4096`; and what the kernel limit adds."""
    if not verdict.points:
        return "none that can be used"
    each = seeds(verdict) if verdict.draws else at_least(verdict.fitted)
    told = f"{each} at {counted(verdict.points, 'value')}, {_range(verdict)}"
    both = verdict.fitted.two_levels
    return told if both is None else f"{told}; {both.told}"


def seeds(verdict: Verdict) -> str:
    """How many: `8 seeds`, `8 seeds and 128 of the kernel limit`, `8 draws of the law`."""
    if verdict.draws:
        return f"{counted(verdict.seeds, 'draw')} of the law"
    both = verdict.fitted.two_levels
    own = counted(verdict.seeds, "seed")
    return own if both is None else f"{own} and {both.kernel_seeds} of the kernel limit"


EACH = 4
"""Laws of which each has a sentence, and settings of a law; of more there is one on all."""


def leads(own: Mapping[Group, Sequence[Verdict]]) -> list[tuple[Badge, Markup]]:
    """What the study says first, each with its badge: a sentence a law and setting, or one on all
    settings of a law, or on all laws."""
    chosen = {group: answers(verdicts) for group, verdicts in own.items()}
    if len(chosen) > EACH:
        named = [
            (f"{_of(group)}, {told}".strip(", "), v)
            for group, found in chosen.items()
            for told, v in found.items()
        ]
        settings = ", dimensions and settings" if len(named) > len(chosen) else " and dimensions"
        return [_over(f"{len(named)} laws{settings}", named)]
    made = []
    for group, found in chosen.items():
        pooled = over_draws_of(own[group])
        if len(found) > EACH:
            made.append(_over(f"{len(found)} settings of {_of(group)}", list(found.items())))
            continue
        *others, last = found.items()
        made += [(badge(v), lead(group, v, None, told)) for told, v in others]
        beside = None if pooled in found.values() else pooled
        made.append((badge(last[1]), lead(group, last[1], beside, last[0])))
    return made


Told = tuple[Group, str, Verdict]
"""A law and dimension, what tells a setting from others, and the verdict there."""

OWN = 8
"""Verdicts on predictions of the user's own that have a sentence each."""


def own_leads(own: Mapping[Group, Sequence[Verdict]]) -> list[tuple[Badge, Markup]]:
    """What the study says of predictions of the user's own, each with its badge."""
    made = []
    for group, told, v in decided_first(own_answers(own), OWN):
        said = Markup("<em>{}</em>: {}").format(typeset(v.own), lead(group, v, None, told))
        if why := why_open(v).partition("; ")[0]:  # the rest unfolds in the table
            said += Markup(" ") + typeset(f"{why[0].upper()}{why[1:]}.")
        made.append((badge(v), said))
    return made


def decided_first(every: Sequence[Told], most: int) -> list[Told]:
    """At most so many answers, in their order; of more the decided ones go before others."""
    ranked = sorted(range(len(every)), key=lambda i: every[i][2].verdict is Word.UNDETERMINED)
    return [every[i] for i in sorted(ranked[:most])]


def why_open(verdict: Verdict) -> str:
    """Why a verdict is undetermined, and what would decide it, less the interval that `lead` says;
    empty where it is not."""
    if verdict.verdict is not Word.UNDETERMINED:
        return ""
    first, _, rest = verdict.reason.partition("; ")
    return rest if rest and first.startswith("b = ") else verdict.reason


def own_answers(own: Mapping[Group, Sequence[Verdict]]) -> list[Told]:
    """The verdicts on predictions of the user's own."""
    return [
        (group, setting_of(v, [one for one in verdicts if one.own == v.own], verdicts), v)
        for group, verdicts in own.items()
        for v in verdicts
        if v.own
    ]


def _over(many: str, named: Sequence[tuple[str, Verdict]]) -> tuple[Badge, Markup]:
    """One sentence on many verdicts, by their names."""
    words = Counter(v.verdict for _name, v in named)
    most = words.most_common(1)[0][0]
    known = sorted((v.exponent, name) for name, v in named if not math.isnan(v.exponent))
    told = Markup("")
    if known:
        (low, first), (high, last) = known[0], known[-1]
        told = Markup(" with b from {} ({}) to {} ({})").format(
            number(low), typeset(first), number(high), typeset(last)
        )
    quantity, axis = named[0][1].quantity, PLAIN.get(named[0][1].axis, named[0][1].axis)
    counts = ", ".join(f"{_BADGES[word].words} {count} times" for word, count in words.items())
    text = Markup("Over {} the {} falls as {}<sup>−b</sup>{}: {}.")
    name = QUANTITIES.get(quantity, "quantity")
    return _BADGES[most], text.format(typeset(many), name, typeset(axis), told, counts)


def _of(group: Group) -> str:
    return f"{group[0]}, d = {group[1]}"


def lead(group: Group, verdict: Verdict, pooled: Verdict | None = None, told: str = "") -> Markup:
    """The verdict in one sentence, beside that over draws of the law; reasons are in the table.
    told: what tells its setting from others."""
    name = QUANTITIES.get(verdict.quantity, verdict.quantity.replace("_", " "))
    if verdict.fixed.get("width") == math.inf and verdict.quantity not in OF_THE_KERNEL:
        name += " at infinite width"
    if not usual_noise(verdict.fixed):
        name += f" with {noise_label(verdict.fixed)}"
    words, rest = _tail(verdict)
    if verdict.verdict is Word.UNDETERMINED:
        rest = Markup(", theory says {}").format(theory(verdict))
    if pooled is not None:
        rest += Markup("; over {} draws of the law {}, {}").format(
            len(pooled.draws), power("samples", pooled.exponent), badge(pooled).words
        )
    where = f"{_of(group)}, {told}" if told else _of(group)
    return Markup("On {} the {} {}: <strong>{}</strong>{}.").format(
        typeset(where), name, _told(verdict), words, rest
    )


def of_files(labels: Iterable[str]) -> str:
    """What the laws are and N counts where they are the rows of files, by their labels; empty where
    none is."""
    rows = list(dict.fromkeys(filter(None, map(rows_of, labels))))
    if not rows:
        return ""
    law = "The law is" if len(rows) == 1 else "Laws are"
    return f"{law} uniform on {' and '.join(rows)}: N of them are drawn, with replacement."


def uncovered(verdicts: Sequence[Verdict], trials: pd.DataFrame) -> str:
    """What the verdicts are silent on, in this study; empty where there is none."""
    if not verdicts:
        return ""
    labels = trials.drop_duplicates("law_id")["law_label"].astype(str)
    told = []
    if any(family(label) for label in labels) and not any(v.draws for v in verdicts):
        told.append("other draws of a law's centres or atoms (draws: 8 in the law answers that)")
    files = [name for label in labels if (name := data_file(label))]
    if files:
        told.append(f"rows that {', '.join(files)} does not hold: the law is those it holds")
    told.append("sizes beyond those trained, but for what is said of large ones")
    told.append("trainers, times and dimensions that the study does not have")
    return f"The verdicts do not cover {'; '.join(told)}."


def at_large(verdict: Verdict) -> str:
    """The limits of the exponent at large values: `at large N: 0.45 to 0.61`; empty where they are
    those over the range, or are not known."""
    seen = verdict.at_large
    if seen is None or (seen.plain and verdict.follows is None):
        return ""
    return f"{_large(verdict)}: {interval(seen.low, seen.high)}"


def _large(verdict: Verdict) -> str:
    large = f"at large {PLAIN.get(verdict.axis, verdict.axis)}"
    if verdict.follows is not None:
        large += f" as the {QUANTITIES[verdict.follows.quantity]}"
    known = None if verdict.at_large is None else verdict.at_large.known
    return large if known is None else f"{large} by {known.name}"


def _told(verdict: Verdict) -> Markup:
    axis = typeset(PLAIN.get(verdict.axis, verdict.axis))
    if flat(verdict):
        if math.isnan(verdict.range[0]):
            return Markup("against {} has no values to judge").format(axis)
        return Markup("against {}, over {}").format(axis, _range(verdict))
    if math.isnan(verdict.exponent):
        return Markup("against {} has no exponent").format(axis)
    sign = -1.0 if verdict.exponent < 0 else 1.0
    ends = sorted((sign * verdict.ci_low, sign * verdict.ci_high))
    seen = verdict.at_large
    large = Markup("")
    if seen is not None and (verdict.follows is not None or not seen.plain):
        limits = interval(*sorted((sign * seen.low, sign * seen.high)))
        large = typeset(f", {limits} {_large(verdict)}")
    return Markup("{} as {} ({} interval {}{}, {})").format(
        "falls" if verdict.exponent >= 0 else "grows",
        power(verdict.axis, verdict.exponent, digits(*ends)),
        share(verdict.level),
        interval(*ends),
        large,
        seeds(verdict),
    )


def flat(verdict: Verdict) -> bool:
    """Whether theory speaks of level means themselves: they do not change, or pass no value."""
    unchanged = verdict.kind == Kind.SHARP and verdict.theory_exponent == 0
    return unchanged or verdict.kind == Kind.CEILING


def _range(verdict: Verdict) -> str:
    return f"{verdict.range[0]:g} to {verdict.range[1]:g}"


def _tail(verdict: Verdict) -> tuple[str, Markup]:
    word = verdict.verdict
    if word is Word.UNDETERMINED:
        return "undetermined", Markup("")
    if verdict.kind == Kind.CEILING:
        return str(word), Markup(" with {}: {}").format(theory(verdict), typeset(verdict.reason))
    b = power(verdict.axis, verdict.theory_exponent)
    if verdict.kind == Kind.BOUND:
        words = {
            Word.FASTER: "faster than the bound",
            Word.CONSISTENT: "consistent with the bound",
            Word.VIOLATES: "slower than the bound, which it violates,",
        }
        return words.get(word, str(word)), Markup(" ") + b
    if verdict.kind == Kind.QUALITATIVE and verdict.own:
        return str(word), Markup(" with b {}").format(theory(verdict))
    if verdict.kind == Kind.QUALITATIVE:
        agrees = word is Word.AGREES
        said = "as theory says, it" if agrees else "against theory, it"
        does = "does not fall" if agrees else "falls"
        return str(word), Markup(" ({} {} at the rate that stopping reaches)").format(said, does)
    if flat(verdict):
        return str(word), Markup(" with theory’s “no change”: {}").format(typeset(verdict.reason))
    return str(word), Markup(" with theory’s ") + b


MEAN_HEADS = (
    *("law", "d", "N", "m", "η", "trainer", "seeds", "score error", "best ητ"),
    "least held-out loss",
)
"""Heads of `mean_cells`."""


def mean_cells(means: pd.DataFrame) -> list[tuple[str, ...]]:
    """Rows of `point_means` as cells: means over seeds with their 95 % intervals."""
    return [
        (
            str(row["law_label"]),
            f"{row['dimension']}",
            f"{row['samples']:,}",
            "∞" if math.isinf(row["width"]) else f"{row['width']:,.0f}",
            f"{row['step_size']:g}",
            str(row["trainer"]).partition("@")[0],
            f"{row['seeds']}",
            _with_ends(row["score_error"], row["error_low"], row["error_high"]),
            "–" if math.isnan(row["effective_time"]) else f"{row['effective_time']:.3g}",
            _with_ends(row["holdout_loss"], row["loss_low"], row["loss_high"]),
        )
        for _, row in means.iterrows()
    ]


def _with_ends(value: float, low: float, high: float) -> str:
    if math.isnan(value):
        return "–"
    ends = "" if math.isnan(low) else f" ({low:.3g} to {high:.3g})"
    return f"{value:.3g}{ends}"
