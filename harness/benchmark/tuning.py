"""The ``tune`` section: which settings of which rows are tried, and what chooses among them."""

from __future__ import annotations

import fnmatch
import itertools
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, Final

from harness.api.registration import MethodRegistration, MetricRegistration
from harness.benchmark.data import same_rows
from harness.benchmark.sections import check, part_of
from harness.benchmark.sweep import entry_label, overlap, place_value, within
from harness.errors import suggest
from harness.plugins.option_groups import option_names, suggest_option
from harness.spec.benchmark import MethodEntry, Tune
from harness.spec.recipe import Recipe
from harness.spec.section import DISPLAY, RESULT, Section, Seed, mark

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.benchmark.context import Context
    from harness.benchmark.problems import Place
    from harness.benchmark.sections import FilePart
    from harness.benchmark.source import Node
    from harness.spec.benchmark import DataUse, MetricUse

_METHODS: Final = "methods."
#: More configurations of one row than anybody waits for.
MAX_TRIALS: Final = 200


class TuneKeys(Section):
    """The section as a file has it."""

    options: dict[str, tuple[Any, ...]] = mark(DISPLAY, min_length=1)
    """``methods.ROWS.OPTION`` to the values to try; ROWS is a label, a method's name or ``*``."""
    metric: str | None = mark(RESULT, None)
    """A metric, or one of its columns after a dot."""
    seeds: tuple[Seed, ...] | None = mark(RESULT, None, min_length=1)
    """The seeds that trials are trained with; the file's first one where absent."""


@dataclass(frozen=True)
class _Swept:
    """One option of some rows, and the values to try."""

    values: Node
    """The list; its key is where the pattern is written."""
    pattern: str
    option: str
    """As a sweep would name it: ``coef``, ``recipe.NAME`` or ``reward_weights.PART``."""
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Rows:
    """The rows that may be tuned."""

    nodes: Sequence[Node]
    """Each row's own, its sweep expanded."""
    entries: Sequence[MethodEntry | None]
    """None for a row that is wrong by itself."""
    listed: Sequence[Node]
    """The elements of ``methods`` as they are written."""
    resolve: Callable[[Node, str], MethodEntry | None]
    """Makes an entry of a node; its mistakes are blamed on the values in the node."""


def tune(
    top: FilePart, context: Context, rows: Rows, metrics: Sequence[tuple[Node, MetricUse | None]], seeds: Sequence[int]
) -> tuple[Tune | None, list[MethodEntry | None]]:
    """Return what chooses, and the entries with what is tried for each; mistakes are added to the context."""
    problems = context.problems
    before = problems.met
    part = part_of(top.values["tune"], "tune", top.place, problems)
    keys = check(TuneKeys, part, problems)
    metric = _metric(part, context, metrics)
    chosen = (keys.seeds if keys else None) or tuple(seeds[:1])
    for seed in chosen:
        if seed not in seeds:
            expected = f"one of {', '.join(str(each) for each in seeds)}"
            problems.add(part.at("seeds"), "is not a seed of the file", key="tune.seeds", got=seed, expected=expected)
    if len(set(chosen)) < len(chosen):
        problems.add(part.at("seeds"), "has a seed twice", key="tune.seeds", got=list(chosen))
    if keys is None or metric is None or not seeds:
        return None, list(rows.entries)
    swept = [
        option for name, node in part.values["options"].items.items() if (option := _option(name, node, rows, context))
    ]
    _check_fair(swept, rows, context)
    entries = list(rows.entries)
    if problems.met == before:
        for index in sorted({index for one in swept for index in one.rows}):
            entries[index] = _with_trials(index, [one for one in swept if index in one.rows], rows, context)
    return Tune(options=keys.options, metric=metric, seeds=chosen), entries


def check_held_out(
    top: FilePart, context: Context, validation: DataUse | None, evaluate: Sequence[tuple[Node, DataUse | None]]
) -> None:
    """Add what is wrong with the data that a choice is made on: there is none, or the tables report it."""
    node = top.values["tune"]
    if "validation" not in top.values:
        what, expected = "settings are chosen on held-out data, and the file names none", "validation: at the top"
        context.problems.add(node.key or node.place, what, key="tune", expected=expected)
        return
    place = top.values["validation"].place
    for _, use in evaluate:
        if validation is not None and use is not None and same_rows(use, validation):
            what = f"is the data that {use.label} reports: what is chosen there would be flattered by it"
            context.problems.add(place, what, key="validation", hint="choose another split")


def _option(name: str, values: Node, rows: Rows, context: Context) -> _Swept | None:
    """Return the rows that a pattern means, and the option."""
    place = values.key or values.place

    def wrong(what: str, at: Place = place, **rest: Any) -> None:
        context.problems.add(at, what, key=f"tune.options.{name}", **rest)

    plain = [value.plain() for value in values.elements]
    if not plain:
        wrong("is wrong", values.place, got=values.plain(), expected="a list of values to try")
        return None
    if any(value in plain[:index] for index, value in enumerate(plain)):
        wrong("has a value twice", values.place, got=plain)
    if not name.startswith(_METHODS):
        wrong("is not an option of methods", expected="methods.ROWS.OPTION", did_you_mean=f"{_METHODS}*.{name}")
        return None
    labels = list(dict.fromkeys(each for entry in rows.entries if entry for each in (entry.label, entry.use)))
    rest = name.removeprefix(_METHODS)
    exact = max((each for each in labels if rest.startswith(f"{each}.")), key=len, default=None)
    who = exact if exact is not None else rest.partition(".")[0]
    option = rest[len(who) + 1 :]
    meant = [
        (index, entry)
        for index, entry in enumerate(rows.entries)
        if entry is not None and (who in {entry.label, entry.use} or _matches(who, entry, exact))
    ]
    supervised = (
        index for index, entry in enumerate(rows.entries) if entry and _registration(entry, context).supervised
    )
    shared = next(supervised, None)
    free = [(index, entry) for index, entry in meant if index != shared]
    rows_with_option = tuple(
        index for index, entry in free if option in _options(entry, context) or _is_weight(option, entry, context)
    )
    if not meant:
        near = suggest(who, labels)
        wrong("no method matches", got=who, expected=f"*, or one of {', '.join(labels)}", did_you_mean=near)
    elif not free:
        wrong("the shared start is trained once and is not tuned")
    elif not rows_with_option:
        names = list(dict.fromkeys(each for _, entry in free for each in _options(entry, context)))
        near = suggest_option(option, names)
        wrong(f"no method that matches {who} has this option", got=option, did_you_mean=near)
    for element in rows.listed:
        sweep = element.items.get("sweep")
        if (
            sweep is not None
            and any(overlap(option, name) for name in sweep.items)
            and any(rows.nodes[i].place == element.place for i in rows_with_option)
        ):
            hint = "a row either has a value each, or is given the best"
            wrong(f"{option} is in a sweep of {entry_label(element)} too", hint=hint)
    return _Swept(values, name, option, rows_with_option) if rows_with_option else None


def _matches(who: str, entry: MethodEntry, exact: str | None) -> bool:
    return exact is None and any(fnmatch.fnmatchcase(name, who) for name in (entry.label, entry.use))


def _registration(entry: MethodEntry, context: Context) -> MethodRegistration:
    registration = context.registry.get("method", entry.use)
    assert isinstance(registration, MethodRegistration)
    return registration


def _options(entry: MethodEntry, context: Context) -> list[str]:
    own = option_names(_registration(entry, context).options)
    return [*own, *(f"recipe.{name}" for name in Recipe.model_fields)]


def _is_weight(option: str, entry: MethodEntry, context: Context) -> bool:
    return within(option)[0] == "reward_weights" and "reward" in _registration(entry, context).needs


def _check_fair(swept: Sequence[_Swept], rows: Rows, context: Context) -> None:
    """Add what gives one method more chances than another: other numbers of an option's values and of trials."""

    def trials(swept_rows: Sequence[int]) -> set[int]:
        return {prod(len(each.values.elements) for each in swept if row in each.rows) for row in swept_rows}

    for place, one in enumerate(swept):
        for other in swept[:place]:
            if not overlap(one.option, other.option):
                continue
            key, at = f"tune.options.{one.pattern}", one.values.key or one.values.place
            shared = sorted(set(one.rows) & set(other.rows))
            if shared:
                entry = rows.entries[shared[0]]
                what = f"{other.pattern} gives {entry.label if entry else ''} values of {one.option} already"
                context.problems.add(at, what, key=key)
            elif (
                one.option == other.option
                and len(one.values.elements) != len(other.values.elements)
                and trials(one.rows) != trials(other.rows)
            ):
                counts = f"{len(one.values.elements)} here, {len(other.values.elements)} under {other.pattern}"
                expected = f"as many trials for every method that has {one.option}"
                context.problems.add(at, f"is unfair: {counts}", key=key, expected=expected)


def _with_trials(index: int, swept: Sequence[_Swept], rows: Rows, context: Context) -> MethodEntry | None:
    """Return a row's entry with every combination of the values, each checked as if it were written in the entry."""
    entry, node = rows.entries[index], rows.nodes[index]
    if entry is None:
        return None
    count = 1
    for one in swept:
        count *= len(one.values.elements)
    first = swept[0]
    if count > MAX_TRIALS:
        place, key = first.values.place, f"tune.options.{first.pattern}"
        what = f"gives {entry.label} {count:,} trials"
        context.problems.add(place, what, key=key, expected=f"at most {MAX_TRIALS}")
        return None
    trials = []
    for values in itertools.product(*(one.values.elements for one in swept)):
        tried = node
        for one, value in zip(swept, values, strict=True):
            tried = replace(tried, value=place_value(tried.items, one.option, replace(value, key=one.values.key)))
        tried_entry = rows.resolve(tried, f"{_METHODS}{entry.label}")
        if tried_entry is None:
            return None
        trials.append({one.option: setting(tried_entry, one.option) for one in swept})
    return entry.model_copy(update={"trials": tuple(trials)})


def setting(entry: MethodEntry, option: str) -> Any:
    """Return the value that a row has of an option, named as a sweep names it."""
    above, below = within(option)
    if above == "recipe":
        return entry.recipe.model_dump(mode="json")[below]
    if above == "reward_weights":
        return entry.reward_weights[below]
    return entry.options[above][below] if above else entry.options[option]


def _metric(part: FilePart, context: Context, metrics: Sequence[tuple[Node, MetricUse | None]]) -> str | None:
    """Return ``metric.column`` of what chooses; the headline of the first score metric where the file names none."""
    if any(use is None for _, use in metrics):
        return None  # said already
    registrations = {use.use: _resolved(use, context) for _, use in metrics if use}
    node = part.values.get("metric")
    at, key = part.at("metric"), "tune.metric"
    if node is None or not isinstance(node.value, str):
        scores = (name for name, each in registrations.items() if each.role == "score" and each.draws == 1)
        name = next(scores, None)
        if name is None:
            context.problems.add(at, "is missing: no metric of the file is a score", key=key, expected="metric.column")
            return None
        column = ""
    else:
        name, _, column = node.value.partition(".")
    if name not in registrations:
        near, expected = suggest(name, registrations), f"one of {', '.join(registrations)}"
        context.problems.add(at, "no metric of the file has this name", key=key, got=name, expected=expected,
                             did_you_mean=near)  # fmt: skip
        return None
    registration = registrations[name]
    columns = {each.name: each for each in (*registration.columns, *registration.corpus)}
    column = column or registration.headline or (registration.columns or registration.corpus)[0].name
    if column not in columns:
        near, expected = suggest(column, columns), f"one of {', '.join(columns)}"
        what = f"metric {name} has no such column"
        context.problems.add(at, what, key=key, got=column, expected=expected, did_you_mean=near)
        return None
    others = registration.opponents or registration.models_of
    if columns[column].higher_is_better is None or others or registration.draws > 1:
        why = "it compares rows with each other" if others else "neither direction is better"
        if registration.draws > 1:
            why = f"it takes {registration.draws} answers to a prompt, and trials may have fewer"
        context.problems.add(at, f"cannot choose: {why}", key=key, got=f"{name}.{column}")
        return None
    return f"{name}.{column}"


def _resolved(use: MetricUse, context: Context) -> MetricRegistration:
    registration = context.registry.get("metric", use.use)
    assert isinstance(registration, MetricRegistration)
    return registration.resolved(context.registry.options("metric", use.use, use.options))
