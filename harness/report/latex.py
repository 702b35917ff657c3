"""Tables as LaTeX, for booktabs. No label or text becomes a command."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from harness.report.grid import parts, visible
from harness.report.table import folded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.grid import TablePart
    from harness.report.table import Table

_HEAD = r"""% \usepackage{booktabs}
% Names in other scripts than the Latin one need lualatex or xelatex.
"""
#: A column whose long texts are broken into lines.
_BROKEN = r"p{0.25\linewidth}"
_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "`": r"\textasciigrave{}", "'": r"\textquotesingle{}",
    "[": "{[}", "]": "{]}", "*": "{*}", "±": r"$\pm$", "×": r"$\times$", "−": "$-$", "↑": r"$\uparrow$",
    "↓": r"$\downarrow$", "→": r"$\rightarrow$", "≥": r"$\geq$", "≤": r"$\leq$", "÷": r"$\div$",
    "σ": r"$\sigma$", "≈": r"$\approx$", "½": r"$\frac{1}{2}$", "√": r"$\surd$",
}  # fmt: skip


def latex(tables: Sequence[Table]) -> str:
    """Return one ``table`` environment a table, or a part of one that is too wide for a page."""
    return _HEAD + "\n".join(_environment(table, part) for table in map(folded, tables) for part in parts(table))


def escaped(text: str) -> str:
    """Return text that LaTeX sets as it is; ``--`` is not a dash, and a leading bracket not an argument."""
    text = visible(re.sub(r"\s*\n\s*", " ", text.strip()))
    text = "".join(_SPECIAL.get(character, character) for character in text)
    return re.sub(r"-(?=-)", "-{}", text).replace("–", r"\textendash{}")


def _environment(table: Table, part: TablePart) -> str:
    title = f"{table.title}, {part.group}" if part.group else table.title
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escaped(title)}}}",
            rf"\begin{{tabular}}{{{part.columns.replace('p', _BROKEN)}}}",
            r"\toprule",
            _row(part.labels),
            r"\midrule",
            *(_row(row) for row in part.rows),
            r"\bottomrule",
            r"\end{tabular}",
            "",
            r"\smallskip\footnotesize\raggedright",
            *(escaped(line) for line in table.caption),
            r"\end{table}",
            "",
        ]
    )


def _row(cells: Sequence[str]) -> str:
    return " & ".join(escaped(cell) for cell in cells) + r" \\"
