"""A guess at which column of a file is what, by the names that people give them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from harness.api import InputError
from harness_plugins.datasets.files.holdout import Holdout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.api import Example

#: What columns are called, the likeliest first; compared without case.
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "prompt": ("prompt", "instruction", "question", "query", "problem", "document", "article", "input", "text"),
    "completion": ("completion", "response", "answer", "output", "target", "solution", "summary", "highlights"),
    "chosen": ("chosen", "preferred", "better"),
    "rejected": ("rejected", "dispreferred", "worse"),
    "context": ("context", "passage", "input"),
    "references": ("references", "answers"),
    "label": ("label",),
}


def sketched(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the options that rows like this one would be read with.

    Raises:
        InputError: no column looks like a prompt, nor two like the answers of a pair.
    """
    taken: dict[str, str] = {}
    pair = {role: name for role in ("chosen", "rejected") if (name := _column(row, role, taken, str))}
    taken |= pair if len(pair) == 2 else {}
    for role in ("prompt", "completion"):
        if name := _column(row, role, taken, str):
            taken[role] = name
    if "prompt" not in taken and "chosen" not in taken:
        raise InputError(
            "no column looks like a prompt", where=where, got=", ".join(row) or "no column",
            expected="columns: {prompt: NAME, completion: NAME} in the benchmark file",
        )  # fmt: skip
    if "chosen" not in taken and (name := _column(row, "context", taken, str)):
        taken["context"] = name
    if name := _column(row, "references", taken, list, str):
        taken["references"] = name
    options: dict[str, Any] = {}
    label = _column(row, "label", taken, bool)
    if label and "completion" in taken and "chosen" not in taken:
        options["kind"] = "unpaired_preferences"
        taken |= {"label": label} if label != "label" else {}
        taken.pop("references", None)
    if "chosen" in taken and "completion" in taken:
        options["kind"] = "preferences"
    elif "chosen" not in taken and "completion" not in taken:
        options["kind"] = "references" if "references" in taken else "prompts"
    usual = {"prompt", "completion", "chosen", "rejected"}
    columns = {role: name for role, name in taken.items() if role not in usual or role != name}
    if "chosen" in columns or "rejected" in columns:
        columns |= {role: taken[role] for role in ("chosen", "rejected")}
    return {**({"columns": columns} if columns else {}), **options}


def share_of(rows: Sequence[Example]) -> float | None:
    """Return a share of the rows to test on: a tenth, or more where so few rows have none; None for a row or two."""
    for share in (0.1, 0.2, 0.3, 0.5):
        held = sum(Holdout(test=share).place({}, row, "") == "test" for row in rows)
        if 0 < held < len(rows):
            return share
    return None


def _column(row: Mapping[str, Any], role: str, taken: Mapping[str, str], *kinds: type) -> str | None:
    """Return the column that is called as one of a role is, and holds what it would."""
    names = {name.lower(): name for name in row if name not in taken.values()}
    for name in _NAMES[role]:
        column = names.get(name)
        if column is not None and isinstance(row[column], kinds):
            return column
    return None
