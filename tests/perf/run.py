"""Time the harness against what a user could run instead, and write a table.

``python tests/perf/run.py [--model PATH] [--only NAME …] [--out FOLDER]``: every comparison runs its sides in turns,
mostly each in a process of its own, so a figure is a ratio taken on one machine under one load. Needs the real data
sets (``HARNESS_TEST_DATA``) and TRL; the comparisons ``real-…`` need a pretrained model.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import os
import tempfile
from typing import TYPE_CHECKING

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from perf import cases
from perf.setting import Setting
from perf.table import machine, write

from harness.lm.switches import SWITCHES

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparisons and write ``cpu.md`` and ``cpu.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=sorted(cases.CASES), help="comparisons to run; all unless given")
    parser.add_argument(
        "--model", type=Path, metavar="PATH", help="a pretrained model, a folder or a .gguf file, for real-*"
    )
    parser.add_argument(
        "--out", type=Path, help="folder for the table, such as results/performance; printed unless given"
    )
    parser.add_argument(
        "--rounds", type=int, default=12, help="timed rounds of a comparison (default 12; at most 5 of long ones)"
    )
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of either side (default 2)")
    parser.add_argument("--merge", action="store_true", help="keep the rows of an earlier table that are not run again")
    asked = parser.parse_args(arguments)
    if asked.model is not None and not asked.model.exists():
        parser.error(f"--model: {asked.model} is neither a folder nor a file")
    names = asked.only or [name for name in cases.CASES if asked.model or not name.startswith("real-")]
    if asked.model is None and (lacking := [name for name in names if name.startswith("real-")]):
        parser.error(f"{' '.join(lacking)}: needs a pretrained model, --model PATH")
    for switch in SWITCHES:
        os.environ.pop(switch.variable, None)
    torch.set_num_threads(asked.threads)
    found = []
    with tempfile.TemporaryDirectory() as place:
        setting = Setting.make(Path(place), real=asked.model, rounds=asked.rounds, threads=asked.threads)
        try:
            for name in names:
                for row in cases.CASES[name](setting):
                    print(row.line(), flush=True)
                    found.append(row)
        finally:  # what was measured is kept, whatever a later comparison runs into
            write(found, machine(asked.threads), asked.out, keep=asked.merge)


if __name__ == "__main__":
    main()
