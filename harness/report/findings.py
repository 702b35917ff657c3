"""What a run says in one or two sentences, made from its numbers: what is claimed, and what only the means say.

The sentences know nothing of how a difference is tested: they are a function of :class:`View`, which any procedure can
fill.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Numbers that a sentence spells.
_WORDS: Final = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")

_ALONE: Final = "There is no row to compare with a baseline."


@dataclass(frozen=True)
class Contrast:
    """One row beside the baseline, in the unit of the table."""

    row: str
    baseline: str
    estimate: float
    """The row's mean minus the baseline's."""
    low: float | None = None
    high: float | None = None
    claimed: bool = False
    """Whether the two are said to differ."""


@dataclass(frozen=True)
class View:
    """One column of the headline table, the rows of one model."""

    where: str
    """What a sentence calls it: ``dolly at T = 1``."""
    contrasts: Sequence[Contrast] = ()
    """Of every trained row that has a number, but the baseline."""
    lacking: Sequence[str] = ()
    """Rows that have no number."""
    can_claim: bool = False
    """Whether there are seeds enough to claim anything here."""
    lower_is_better: bool = False
    digits: int = 1
    model: str = ""
    """Named where there are several."""


def verdict(views: Sequence[View], *, seeds: int) -> list[str]:
    """Return the sentences: one or two for each model, and one for what is lacking.

    Args:
        views: the columns of the headline table, the main one first, model by model.
        seeds: how many the run has.
    """
    said: list[str] = []
    if views and not any(view.can_claim for view in views):
        said.append(_nothing(seeds))
    for model in dict.fromkeys(view.model for view in views):
        own = [view for view in views if view.model == model]
        can_claim = any(view.can_claim for view in own)
        some = _claims(own) if can_claim else _means(own)
        if not can_claim and any(view.can_claim for view in views):
            some = [_nothing(seeds), *some]
        if model and some:
            some[0] = f"{model}: {some[0]}"
        said += some
    if lacking := _lacking(views):
        said.append(lacking)
    return said


def _nothing(seeds: int) -> str:
    if seeds > 2:  # the run has enough: rows failed, or prompts are too few or too alike
        return "Nothing is claimed: the captions of the tables say why."
    return f"{_WORDS[seeds]} seed{'' if seeds == 1 else 's'}: nothing is claimed."


def _claims(views: Sequence[View]) -> list[str]:
    """Say what is claimed in the main column, then where that is confirmed or contradicted."""
    first, *others = views
    if not any(view.contrasts for view in views):
        return [_ALONE]
    baseline = next(contrast.baseline for view in views for contrast in view.contrasts)
    parts: list[str] = []
    for ahead in (True, False):  # what is better comes first
        contrasts = [c for c in first.contrasts if c.claimed and _ahead(c, first) is ahead]
        if contrasts:
            names = listed(f"{c.row} ({_difference(c, first.digits)})" for c in contrasts)
            side = _side(first, ahead=ahead)
            parts.append(f"{names} {'is' if len(contrasts) == 1 else 'are'} {side} {'it' if parts else baseline}")
    undecided = [c.row for c in first.contrasts if not c.claimed]
    if not first.contrasts:
        said = [f"On {first.where}, no row has a number to compare."]
    elif not parts:
        said = [f"On {first.where}, no row can be told from {baseline}."]
    else:
        rest = f"; {listed(undecided)} cannot be told from it" if undecided else ""
        said = [f"On {first.where}, {' and '.join(parts)}{rest}."]
    return said + ([_elsewhere(first, others, baseline)] if others else [])


def _elsewhere(first: View, others: Sequence[View], baseline: str) -> str:
    """Say where the same is claimed; else row by row what is, with a ``but`` for what the main column does not say."""
    main = _sides(first)
    same = [view.where for view in others if main and _sides(view) == main]
    quiet = [view.where for view in others if not _sides(view) and view.where not in same]
    rest = [view for view in others if view.where not in {*same, *quiet}]
    said = [f"the same is claimed on {listed(same)}"] if same else []
    for row in main | _sides_of(rest) if rest else ():
        places: dict[bool | None, list[str]] = {True: [], False: [], None: []}
        for view in rest:
            if not any(contrast.row == row for contrast in view.contrasts):
                continue  # without a number nothing is told of it, not even that it is not told apart
            places[_sides(view).get(row)].append(view.where)
        main_side = main.get(row, True)
        parts = [
            f"{_side(first, ahead=ahead)} on {listed(places[ahead])}"
            for ahead in (main_side, not main_side)
            if places[ahead]
        ]
        if row in main and places[None]:
            parts.append(f"not told from {baseline} on {listed(places[None])}")
        if parts:
            turn = " but " if places[main_side] else " and "  # from what the main column says to what it does not
            text = f"{row} is {turn.join([parts[0], *([' and '.join(parts[1:])] if parts[1:] else [])])}"
            said.append(f"but {text}" if row in main and not places[main_side] else text)
    if quiet:
        said.append(f"nothing is claimed on {listed(quiet)}")
    if not any(said[0].startswith(f"{row} is ") for row in main | _sides_of(rest)):  # a name stays as it is
        said[0] = _capital(said[0])
    return f"{'; '.join(said)}."


def _sides_of(views: Sequence[View]) -> dict[str, bool]:
    return {row: ahead for view in views for row, ahead in _sides(view).items()}


def _sides(view: View) -> dict[str, bool]:
    """Return whether each row that is said to differ from the baseline is better."""
    return {contrast.row: _ahead(contrast, view) for contrast in view.contrasts if contrast.claimed}


def _means(views: Sequence[View]) -> list[str]:
    """Say which row has the best mean where, without a claim."""
    views = [view for view in views if view.contrasts]
    if not views:
        return [_ALONE]
    baseline = views[0].contrasts[0].baseline
    best: dict[str, list[str]] = {}
    for view in views:
        leader = max(view.contrasts, key=lambda c: -c.estimate if view.lower_is_better else c.estimate)
        if not _ahead(leader, view):
            best.setdefault("", []).append(view.where)
            continue
        over = f" from {baseline}" if view.lower_is_better else f" over {baseline}"
        named = any(best)
        difference = f"{leader.estimate:+.{view.digits}f}{'' if named else over}"
        best.setdefault(leader.row, []).append(f"{view.where} ({difference})")
    lower = views[0].lower_is_better
    led = {row: places for row, places in best.items() if row}
    parts = [f"{row} on {listed(places)}" for row, places in led.items()]
    if parts:
        row, places = next(iter(led.items()))
        parts[0] = f"{row} has the {'lowest' if lower else 'highest'} mean on {listed(places)}"
    if "" in best:
        what = f"no mean is {'lower' if lower else 'higher'} than {baseline}'s on {listed(best[''])}"
        parts.append(what if led else _capital(what))
    return [f"{'; '.join(parts)}."]


def _lacking(views: Sequence[View]) -> str:
    """Say which rows have no number, anywhere or somewhere."""
    places: dict[str, list[str]] = {}
    count: dict[str, int] = {}
    for view in views:
        for row in view.lacking:
            places.setdefault(_named(row, view), []).append(view.where)
        for row in (*view.lacking, *(contrast.row for contrast in view.contrasts)):
            count[_named(row, view)] = count.get(_named(row, view), 0) + 1
    whole = [row for row, where in places.items() if len(where) == count[row]]
    parts = [f"no number for {listed(whole)}"] if whole else []
    parts += [f"no number for {row} on {listed(where)}" for row, where in places.items() if row not in whole]
    return f"{_capital('; '.join(parts))}." if parts else ""


def _named(row: str, view: View) -> str:
    return f"{row} ({view.model})" if view.model else row


def _ahead(contrast: Contrast, view: View) -> bool:
    return contrast.estimate < 0 if view.lower_is_better else contrast.estimate > 0


def _side(view: View, *, ahead: bool) -> str:
    return "above" if ahead is not view.lower_is_better else "below"


def _difference(contrast: Contrast, digits: int) -> str:
    text = f"{contrast.estimate:+.{digits}f}"
    if contrast.low is None or contrast.high is None:
        return text
    return f"{text}, {contrast.low:.{digits}f} to {contrast.high:.{digits}f}"


def listed(texts: Iterable[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    *rest, last = texts
    return f"{', '.join(rest)} and {last}" if rest else last


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
