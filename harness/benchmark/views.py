"""What a benchmark file asks to be shown: what is compared, case studies, and a Pareto front."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.benchmark.opponents import trained_rows
from harness.benchmark.sections import check, part_of
from harness.errors import suggest
from harness.spec.benchmark import Cases, Compare, Overoptimisation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.benchmark.context import Context
    from harness.benchmark.problems import Problems
    from harness.benchmark.sections import FilePart
    from harness.benchmark.source import Node
    from harness.spec.benchmark import DataUse, MethodEntry, MetricUse
    from harness.spec.decoding import Decoding

#: How many prompts are shown where a file does not say.
CASES: Final = 4


def cases(
    node: Node, evaluate: Sequence[tuple[Node, DataUse | None]], decoding: Mapping[str, Decoding], problems: Problems
) -> Cases | None:
    """Return the section ``cases``; the data set and the decoding are the file's first where it names none."""
    part = part_of(node, "cases", node.place, problems)
    uses = [str(use.label) for _, use in evaluate if use]
    choices = {"dataset": uses, "decoding": list(decoding)}
    first = {key: (names or ["?"])[0] for key, names in choices.items() if key not in part.values}
    section = check(Cases, part, problems, **first)
    if section is None:
        return None
    for key, names in choices.items():
        name = getattr(section, key)
        if names and name not in names:
            what = f"names no {'data set of evaluate' if key == 'dataset' else key}"
            problems.add(part.at(key), what, key=part.path(key), got=name, expected=f"one of {', '.join(names)}",
                         did_you_mean=suggest(name, names))  # fmt: skip
    if section.count is not None and section.ids:
        problems.add(part.at("ids"), "prompts are chosen by count or by ids, not both", key=part.path("ids"))
    count = section.count if section.count is not None or section.ids else CASES
    return section.model_copy(update={"count": count})


def compare(node: Node, methods: Sequence[tuple[Node, MethodEntry | None]], context: Context) -> Compare | None:
    """Return the section ``compare``, whose baseline must be a row that was trained."""
    part = part_of(node, "compare", node.place, context.problems)
    section = check(Compare, part, context.problems)
    rows = trained_rows(context, methods)
    whole = all(entry for _, entry in methods)  # a row that is wrong itself may be the one that is meant
    if section is not None and section.baseline is not None and whole and section.baseline not in rows:
        near = suggest(section.baseline, rows)
        what = (
            "the untrained model is not part of any comparison"
            if section.baseline == "base"
            else "no row has this label"
        )
        context.problems.add(part.at("baseline"), what, key=part.path("baseline"), got=section.baseline,
                             expected=f"one of {', '.join(rows)}", did_you_mean=near)  # fmt: skip
    return section


def check_groups(top: FilePart, context: Context, uses: Mapping[str, DataUse | None]) -> None:
    """Say that prompts that no table compares rows on are grouped."""
    for name, use in uses.items():
        node = top.values.get(name)
        if use is not None and use.group is not None and node is not None:
            place = node.items["group"].place if "group" in node.items else node.place
            what = "groups are of prompts that rows are compared on"
            context.problems.add(place, what, key=f"{name}.group", expected="group under a data set of evaluate")


def check_pareto(node: Node | None, metrics: Sequence[tuple[Node, MetricUse | None]], context: Context) -> None:
    """Add what is wrong with the columns of the Pareto front: unknown ones, and those without a better direction."""
    columns = _columns(metrics, context)
    seen = set()
    for index, element in enumerate(node.elements if node is not None else ()):
        if not isinstance(element.value, str):
            continue  # said already
        name, key = element.value.lstrip("-+"), f"pareto[{index}]"
        if name not in columns:
            context.problems.add(
                element.place, "no metric of this file has such a column", key=key, got=element.value,
                expected=f"one of {', '.join(columns)}" if columns else None, did_you_mean=suggest(name, columns),
            )  # fmt: skip
        elif columns[name] is None and name == element.value:
            what = "neither more nor less of this column is better"
            hint = f"write -{name} where less is better, +{name} where more is"
            context.problems.add(element.place, what, key=key, got=element.value, hint=hint)
        if name in seen:
            context.problems.add(element.place, "is listed twice", key=key, got=element.value)
        seen.add(name)


def overoptimisation(
    node: Node, metrics: Sequence[tuple[Node, MetricUse | None]], context: Context
) -> Overoptimisation | None:
    """Return the section ``overoptimisation``, whose columns must be there, and better where there is more reward."""
    part = part_of(node, "overoptimisation", node.place, context.problems)
    section = check(Overoptimisation, part, context.problems)
    columns = _columns(metrics, context)
    for key in ("gold", "proxy", "kl") if section is not None and all(use for _, use in metrics) else ():
        name = getattr(section, key)
        if name not in columns:
            what, expected = "no metric of this file has such a column", f"one of {', '.join(columns)}"
            context.problems.add(
                part.at(key), what, key=part.path(key), got=name, expected=expected if columns else None,
                did_you_mean=suggest(name, columns),
            )  # fmt: skip
        elif key != "kl" and columns[name] is False:
            what = "less of this column is better, and a reward is better where there is more"
            context.problems.add(part.at(key), what, key=part.path(key), got=name)
    return section


def _columns(metrics: Sequence[tuple[Node, MetricUse | None]], context: Context) -> dict[str, bool | None]:
    """Return METRIC.COLUMN of every column with a value an answer, and whether more of it is better."""
    columns: dict[str, bool | None] = {}
    for _, use in metrics:
        registration = context.resolved(use) if use is not None else None
        if use is not None and registration is not None:
            columns |= {f"{use.use}.{column.name}": column.higher_is_better for column in registration.columns}
    return columns
