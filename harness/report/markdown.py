"""Tables as GitHub's Markdown. Labels and texts come from files and plugins: none of them becomes markup."""

from __future__ import annotations

import re
from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING

from tabulate import tabulate

from harness.report.grid import TablePart, parts, visible
from harness.report.table import folded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.report.table import Table

#: What is markup wherever it is; underscores and brackets only where they could be.
_MARKUP = re.compile(
    r"[\\`*<>~$]"
    r"|&(?=#?\w+;)"
    r"|(?<![^\W_])_|_(?![^\W_])"
    r"|\[(?=[ xX]\])|\](?=[\[(:])|!(?=\[)"
    r"|:(?=//)|(?<=www)\.|@(?=\w)"
)


def markdown(
    title: str,
    notes: Sequence[str],
    tables: Sequence[Table],
    ending: Sequence[str] = (),
    setup: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return every table, wide ones cut by data set.

    What several captions say alike is said once, after the first table, which is what most people read.
    """
    tables = [folded(table) for table in tables]
    shared = shared_lines(tables)
    blocks = [f"# {escaped(title)}", *(escaped(note) for note in notes)]
    for index, table in enumerate(tables):
        blocks.append(f"## {escaped(table.title)}")
        blocks += [_part(part) for part in parts(table)]
        blocks.append(_items([line for line in table.caption if line not in shared]))
        if index == 0 and shared:
            blocks += ["## How to read the tables", _items(shared)]
    if setup:
        blocks += ["## Setup", "\n".join(f"- **{escaped(name)}**: {escaped(said)}" for name, said in setup.items())]
    if ending:
        blocks += ["## What was run", _items(ending)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def shared_lines(tables: Sequence[Table]) -> list[str]:
    """Return what the captions of several tables say alike."""
    said = Counter(line for table in tables for line in dict.fromkeys(table.caption))
    return [line for line, count in said.items() if count > 1]


def escaped(text: str, *, cell: bool = False) -> str:
    """Return text that Markdown shows as it is, in a line or in a cell of a table."""
    text = visible(re.sub(r"\s*\n\s*", " ", text.strip()))
    text = re.sub(_MARKUP, lambda match: f"\\{match.group()}", text)
    return text.replace("|", r"\|") if cell else text


def _items(lines: Sequence[str]) -> str:
    return "\n".join(f"- {escaped(line)}" for line in lines)


def _part(part: TablePart) -> str:
    text = tabulate(
        [[escaped(cell, cell=True) for cell in row] for row in part.rows],
        headers=[escaped(label, cell=True) for label in part.labels],
        tablefmt="pipe",
        disable_numparse=True,
        # tabulate 0.9 cannot align the columns of a table without rows
        colalign=["right" if letter == "r" else "left" for letter in part.columns] if part.rows else None,
    )
    return f"**{escaped(part.group)}**\n\n{text}" if part.group else text
