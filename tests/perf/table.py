"""What was measured, as a table for people and as JSON."""

from __future__ import annotations

import json
import os
import platform
import re
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from perf.pace import Seconds


@dataclass(frozen=True)
class Measured:
    """One comparison."""

    name: str
    what: str
    ours: float
    """Median, in ``unit``."""
    other: float
    ratio: float
    """How many times as fast ours is, or the share of a peak."""
    low: float
    high: float
    """Quartiles of the ratio over rounds."""
    rounds: int
    aim: float | None
    unit: str = "s"
    note: str = ""

    @classmethod
    def of(
        cls,
        name: str,
        what: str,
        seconds: Seconds,
        *,
        other: str,
        aim: float | None,
        ours: str = "ours",
        note: str = "",
    ) -> Measured:
        """Compare two sides of what was timed."""
        low, high = seconds.ratios(other, ours)
        ratio = seconds.ratio(other, ours)
        count = len(seconds.sides[ours])
        return cls(name, what, seconds.median(ours), seconds.median(other), ratio, low, high, count, aim, note=note)

    def line(self) -> str:
        """Return one line for the terminal."""
        aim = "" if self.aim is None else f" (aim {self.aim:g})"
        quartiles = f"quartiles {_number(self.low)} to {_number(self.high)}"
        medians = f"{self.ours:.4g} against {self.other:.4g} {self.unit}, {self.rounds} rounds"
        what = "; ".join(filter(None, (self.what, self.note)))
        return f"{self.name}: {_number(self.ratio)}{aim}, {quartiles}; {medians}; {what}"


def machine(threads: int) -> dict[str, Any]:
    """Return what the figures depend on; no name of the machine."""
    libraries = ("torch", "transformers", "trl", "rouge-score")
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        names = re.findall(r"^model name\s*: (.+)$", information.read_text(encoding="utf-8"), re.MULTILINE)
        processor = names[0] if names else processor
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "threads": threads,
        "libraries": {name: version(name) for name in libraries},
        "load": [round(number, 2) for number in os.getloadavg()],
    }


def write(rows: Sequence[Measured], conditions: dict[str, Any], folder: Path | None, *, keep: bool = False) -> None:
    """Write ``cpu.json`` and ``cpu.md``, or print the table where there is no folder."""
    if folder is not None and keep and (folder / "cpu.json").is_file():
        before = json.loads((folder / "cpu.json").read_text(encoding="utf-8"))
        known = {row.name: row for row in [*(Measured(**row) for row in before["rows"]), *rows]}
        rows = list(known.values())
        conditions = {**conditions, "runs": before["conditions"].get("runs", 1) + 1}
    text = _markdown(rows, conditions)
    if folder is None:
        print(text)
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.md").write_text(text, encoding="utf-8")
    whole = {"conditions": conditions, "rows": [asdict(row) for row in rows]}
    (folder / "cpu.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def said(conditions: Mapping[str, Any]) -> str:
    """Return what :func:`machine` found, in words."""
    libraries = ", ".join(f"{name} {found}" for name, found in conditions["libraries"].items())
    load = ", ".join(str(number) for number in conditions["load"])
    cores = f"{conditions['cores']} cores, {conditions['threads']} threads a side"
    return f"{conditions['processor']}, {cores}; {libraries}; load averages at the end {load}"


def _number(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio >= 0.01 or not ratio else f"{ratio:.1e}"


def _markdown(rows: Sequence[Measured], conditions: dict[str, Any]) -> str:
    runs = conditions.get("runs", 1)
    together = f"; rows of {runs} runs together" if runs > 1 else ""
    lines = [
        "# Speed on two processor cores",
        "",
        (
            f"{said(conditions)}. Made by `python tests/perf/run.py`: the sides of a row in turns, "
            "each in a process of its own (ROUGE-L and decoding a step in one), medians; the ratio is the median over "
            f"rounds, its quartiles beside it{together}. Compare ratios, not seconds."
        ),
        "",
        "| comparison | ours | other | ratio | quartiles | aim | rounds | conditions |",
        "|:--|--:|--:|--:|--:|--:|--:|:--|",
    ]
    for row in rows:
        cells = (
            row.name,
            f"{row.ours:.4g} {row.unit}",
            f"{row.other:.4g} {row.unit}",
            _number(row.ratio),
            f"{_number(row.low)}–{_number(row.high)}",
            "–" if row.aim is None else f"{row.aim:g}",
            str(row.rounds),
            f"{row.what}{'; ' + row.note if row.note else ''}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
