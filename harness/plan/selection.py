"""A part of a plan: some of its rows, seeds, models and data sets, and all that they need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from harness.errors import InputError, suggest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from harness.plan.graph import Cell, Plan, Row, Stage

#: What a part may be chosen by.
KEYS: Final = ("methods", "seeds", "models", "data")


@dataclass(frozen=True)
class Selection:
    """Labels of rows and models, seeds, labels of data sets to evaluate on; None stands for all."""

    methods: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    models: tuple[str, ...] | None = None
    data: tuple[str, ...] | None = None

    def rows(self, plan: Plan) -> list[Row]:
        """Return the rows that are chosen, each with one seed; points of a budget with the row that they lie within."""
        return [
            row
            for row in plan.rows
            if (_among(row.label, self.methods) or _among(row.of, self.methods))
            and _among(row.seed, self.seeds)
            and _among(row.model, self.models)
        ]

    def cells(self, row: Row) -> list[Cell]:
        """Return the answers of a chosen row that are chosen."""
        return [cell for cell in row.cells if _among(cell.dataset, self.data)]

    def needed(self, plan: Plan) -> set[str]:
        """Return the keys of the stages that the chosen part needs, done or not.

        All data are among them: whether what is trained on and what is held out are apart is no question of a part.
        """
        rows = self.rows(plan)
        chosen: list[Stage] = [plan.train, *plan.evaluations.values()]
        chosen += [plan.validation] if plan.validation is not None else []
        for row in rows:
            chosen += [row.checkpoint, *row.chain]
            for cell in self.cells(row):
                chosen += [cell.generate, *cell.scores.values()]
        for place in {(row.model, row.label) for row in rows} & plan.tuned.keys():
            chosen += [stage for trial in plan.tuned[place].trials for stage in trial.scores]
        return with_parents(plan, {stage.key for stage in chosen})


def with_parents(plan: Plan, keys: Collection[str]) -> set[str]:
    """Return the keys of stages with those of all that they are made from."""
    wanted = set(keys)
    for stage in reversed(list(plan.stages.values())):  # children before their parents
        if stage.key in wanted:
            wanted |= {parent.key for parent in stage.parents.values()}
    return wanted


def _among(value: Any, chosen: Collection[Any] | None) -> bool:
    return chosen is None or value in chosen


def selection(texts: Iterable[str], plan: Plan) -> Selection | None:
    """Read what ``--only`` says of a plan: ``methods=eso,drl,seeds=0``; None where it says nothing.

    Raises:
        InputError: it is not of that form, or names what the plan has not.
    """
    asked: dict[str, list[str]] = {}
    for text in texts:
        for key, value in _values(text):
            asked.setdefault(key, []).append(value)
    if not asked:
        return None
    there: dict[str, list[str]] = {
        "methods": list(dict.fromkeys(row.label for row in plan.rows)),
        "seeds": list(dict.fromkeys(str(row.seed) for row in plan.rows)),
        "models": list(dict.fromkeys(row.model for row in plan.rows)),
        "data": list(plan.evaluations),
    }
    for key, values in asked.items():
        for value in values:
            if value not in there[key]:
                raise InputError(
                    f"the benchmark has no such {_NOUNS[key]}",
                    where=f"--only {key}",
                    got=value,
                    expected=f"one or more of {', '.join(there[key])}",
                    did_you_mean=suggest(value, there[key]),
                )
    chosen: dict[str, tuple[Any, ...]] = {key: tuple(dict.fromkeys(values)) for key, values in asked.items()}
    if "seeds" in chosen:
        chosen["seeds"] = tuple(map(int, chosen["seeds"]))
    return Selection(**chosen)


_NOUNS: Final = {"methods": "row", "seeds": "seed", "models": "model", "data": "data set to evaluate on"}


def _values(text: str) -> Iterator[tuple[str, str]]:
    """Yield key and value of each part of ``KEY=VALUE,VALUE,KEY=VALUE``; labels may hold ``=``."""
    key = None
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if equals and name in KEYS:
            key = name
        elif key is None or (equals and (close := suggest(name, KEYS))):
            raise InputError(
                "it is not clear what is chosen by this",
                where="--only",
                got=part.strip(),
                expected=f"KEY=VALUE,VALUE with a key among {', '.join(KEYS)}",
                did_you_mean=f"{close}={value}" if equals and (close := suggest(name, KEYS)) else None,
            )
        else:
            value = part.strip()
        if not value:
            raise InputError("names nothing", where=f"--only {key}", expected=f"{key}=NAME,NAME")
        yield key, value
