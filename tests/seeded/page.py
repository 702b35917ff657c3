"""The table of ``docs/seeded-faults.md``: ``python tests/seeded/page.py`` writes it anew from the registry."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from seeded.earlier import EARLIER  # as above
from seeded.fault import ROOT  # the folder of tests is no package
from seeded.field import FIELD  # as above

if TYPE_CHECKING:
    from collections.abc import Iterable

    from seeded.fault import Fault

PAGE: Final = ROOT / "docs" / "seeded-faults.md"
#: What stands before a table that is written by this.
_MARK: Final = "<!-- from tests/seeded: {} -->"
_END: Final = "<!-- end -->"


def _test(name: str) -> str:
    """Return a test as a link to its file."""
    path, _, function = name.partition("::")
    shown = function.partition("[")[0].rpartition("::")[2].removeprefix("test_").replace("_", " ")
    return f"[{shown or Path(path).stem}](../{path})"


def table(faults: Iterable[Fault]) -> str:
    """Return the rows of faults as Markdown."""
    lines = ["| | what it was | caught by |", "|---|---|---|"]
    for fault in faults:
        tests = dict.fromkeys(_test(test) for seed in fault.seeds for test in seed.caught_by)
        caught = "; ".join(tests)
        if fault.impossible:
            caught += f"{'. ' if caught else ''}*Cannot be here*: {fault.impossible}"
        seen = f" ({fault.seen})" if fault.seen else ""
        lines.append(f"| {fault.name} | {fault.what.rstrip('.')}{seen}. | {caught} |")
    return "\n".join(lines)


def with_tables(text: str) -> str:
    """Return the page with both tables as the registry has them."""
    for name, faults in (("field", FIELD), ("earlier", EARLIER)):
        before, mark, rest = text.partition(_MARK.format(name))
        _, end, after = rest.partition(_END)
        text = f"{before}{mark}\n\n{table(faults)}\n\n{end}{after}"
    return text


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
