"""The claims themselves, from the JSON files beside this module: one file a paper."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True)
class Claim:
    """One claim. Rows are named as :mod:`harness.report.claims.standing` reads it, which says what represents them."""

    name: str
    text: str
    place: str
    """Where the paper makes it, with what it printed."""
    benchmarks: tuple[str, ...]
    """Names of the benchmarks that can say something of it."""
    kind: str
    """``above``, ``not-above``, ``equal``, ``trend``, ``peak``, ``order``, ``held``, ``sharpening``, ``rank`` or
    ``spread``."""
    row: str = ""
    others: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    """METRIC.COLUMN; all of them are needed, and a run that measures none of them says nothing of the claim.

    Of a rank correlation the two that go together.
    """
    better: str = ""
    """``more`` or ``less`` where the claim is about more or less, and not about the column's better direction."""
    option: str = ""
    """The option that a trend or a peak goes along, among rows that differ in it alone; of a list its length."""
    at: float = 0.0
    """Where the peak is claimed to be."""
    margin: float = 0.0
    """Up to which difference two rows count as equal, or one as not above another, in the column's own unit."""
    why: str = ""
    """Why this margin."""
    order: tuple[str, ...] = ()
    """Methods by the seconds of a step, fastest first."""
    held: Mapping[str, int] = field(default_factory=dict)
    """Method to the number of models that it keeps in memory."""
    made: bool = False
    """Whether it is about data made by code, or models that start from random weights: of these it may then speak."""
    made_data: bool = False
    """Whether it is about data made by code alone; of models that start from random weights it then says nothing."""
    equal_terms: bool = False
    """Whether it is about methods at one budget and with equally many trials: tuned rows represent them where there are
    some, and where budgets or trials differ nothing is decided."""
    models: tuple[str, ...] = ()
    """Of a spread: a regular expression for the name of the model that is claimed to spread the rows more; the run's
    other models are compared with it."""
    requires: Mapping[str, Any] = field(default_factory=dict)
    """METRIC.OPTION to the value that it must have for the metric to measure what is claimed."""
    some: bool = False
    """Whether ``others`` lists all that there may be: those that the run's file has no row of are not needed."""
    title: str = ""
    """The paper, or what else claims it."""


@functools.cache
def read_claims() -> tuple[Claim, ...]:
    """Return all claims of all papers."""
    claims = []
    for path in sorted(resources.files(__package__).iterdir(), key=lambda path: path.name):
        if path.name.endswith(".json"):
            data = json.loads(path.read_text(encoding="utf-8"))
            for claim in data["claims"]:
                plain: dict[str, Any] = {
                    name: tuple(value) if isinstance(value, list) else value for name, value in claim.items()
                }
                claims.append(Claim(**plain, title=data["title"]))
    return tuple(claims)


def claims_for(benchmark: str, claims: Iterable[Claim] | None = None) -> list[Claim]:
    """Return the claims that a benchmark of this name can say something of."""
    return [claim for claim in (read_claims() if claims is None else claims) if benchmark in claim.benchmarks]
