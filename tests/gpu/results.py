"""What was checked and measured, each figure with what it was measured by, as a table for people and as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_LIBRARIES = ("torch", "transformers", "triton", "trl", "vllm")


@dataclass(frozen=True)
class Checked:
    """Whether a fast way is exact on the device."""

    name: str
    passed: bool | None
    """None where this device has nothing to check."""
    found: str
    how: str


@dataclass(frozen=True)
class Measured:
    """One figure."""

    name: str
    value: float | None
    """A median; None where it was not measured."""
    unit: str
    by: str
    """What it was measured by, or why it was not."""
    low: float | None = None
    high: float | None = None
    """Quartiles."""
    count: int = 0
    roofline: float | None = None
    """What the device's own rates leave for it, in the same unit."""
    aim: str = ""
    note: str = ""

    @classmethod
    def of(cls, name: str, values: Sequence[float], unit: str, by: str, **rest: Any) -> Measured:
        """Return the median of what was found, with its quartiles."""
        low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else (None, None, None)
        return cls(name, statistics.median(values), unit, by, low, high, len(values), **rest)


class Results:
    """All of it, written anew after each."""

    def __init__(self, folder: Path | None, device: str, *, toy: bool) -> None:
        """Write into ``folder``, or print alone."""
        self.folder, self.toy = folder, toy
        self.checked: list[Checked] = []
        self.measured: list[Measured] = []
        self.machine = _machine(device)

    def add(self, *found: Checked | Measured) -> None:
        """Take what was found, print it, and write everything."""
        for each in found:
            if isinstance(each, Checked):
                self.checked.append(each)
            else:
                self.measured.append(each)
            print("; ".join(cell for cell in _cells(each) if cell), flush=True)
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "gpu.md").write_text(self.markdown(), encoding="utf-8")
            whole = {
                "toy": self.toy,
                "machine": self.machine,
                "checked": [asdict(each) for each in self.checked],
                "measured": [asdict(each) for each in self.measured],
            }
            (self.folder / "gpu.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")

    def markdown(self) -> str:
        """Return the tables."""
        toy = (
            ["**There is no GPU here: these are toys on a processor, and say nothing of speed.**", ""]
            if self.toy
            else []
        )
        said = "; ".join(f"{name} {value}" for name, value in self.machine.items())
        return "\n".join(
            [
                "# The GPU's way",
                "",
                *toy,
                f"{said}. Made by `python tests/gpu/run.py`.",
                "",
                "| fast way | exact | found | how it was compared |",
                "|:--|:--|:--|:--|",
                *(f"| {' | '.join(_cells(each))} |" for each in self.checked),
                "",
                "| figure | median | quartiles | rounds | roofline | aim | measured by |",
                "|:--|--:|--:|--:|--:|:--|:--|",
                *(f"| {' | '.join(_cells(each))} |" for each in self.measured),
                "",
            ]
        )


def _cells(each: Checked | Measured) -> tuple[str, ...]:
    if isinstance(each, Checked):
        passed = {True: "yes", False: "**no**", None: "–"}[each.passed]
        return each.name, passed, each.found, each.how
    value = "not measured" if each.value is None else f"{each.value:.4g} {each.unit}"
    quartiles = f"{each.low:.4g}–{each.high:.4g}" if each.low is not None else ""
    bound = "" if each.roofline is None else f"{each.roofline:.4g} {each.unit}"
    by = "; ".join(filter(None, (each.by, each.note)))
    return each.name, value, quartiles, str(each.count or ""), bound, each.aim, by


def _machine(device: str) -> dict[str, str]:
    found = {"device": platform.machine() if device == "cpu" else torch.cuda.get_device_name(device)}
    if device != "cpu":
        found["memory"] = f"{torch.cuda.get_device_properties(device).total_memory / 2**30:.0f} GiB"
        found["CUDA"] = str(torch.version.cuda)
    found["cores"] = str(os.cpu_count())
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
