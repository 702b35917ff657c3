"""Check on the device that every fast way is exact, then measure, and write after each.

``python tests/gpu/run.py [--minutes 9] [--out FOLDER] [--model FOLDER] [--only NAME …]``, or ``tox -e gpu -- …``. Where
there is no GPU it does the same with toys on the processor, and says so. Exit status 1 if a check fails.
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
from gpu import cases, exact
from gpu.results import Checked, Measured, Results
from gpu.roofline import rates
from gpu.setting import Setting

from harness.lm.switches import SWITCHES

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Check and measure; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=9.0, help="no case begins when they are over (default 9)")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="folder for gpu.md and gpu.json; printed unless given"
    )
    parser.add_argument(
        "--model", type=Path, metavar="FOLDER", help="SmolLM2-135M; random weights of its shape unless given"
    )
    parser.add_argument("--only", nargs="*", choices=["exact", *cases.CASES], help="what to do; all unless given")
    asked = parser.parse_args(arguments)
    if asked.model is not None and not asked.model.is_dir():
        parser.error(f"--model: {asked.model} is no folder")
    for switch in SWITCHES:
        os.environ.pop(switch.variable, None)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    wanted = asked.only or ["exact", *cases.CASES]
    with tempfile.TemporaryDirectory() as place:
        setting = Setting(device, Path(place), asked.minutes, asked.model)
        if setting.toy:
            print("There is no GPU here: toys on the processor, whose figures say nothing of speed.", flush=True)
        results = Results(asked.out, device, toy=setting.toy)
        if "exact" in wanted:
            for check in exact.checks(setting):
                results.add(check)
        measure(setting, results, [name for name in wanted if name != "exact"])
        if asked.out is None:
            print(results.markdown())
    return int(any(check.passed is False for check in results.checked))


def measure(setting: Setting, results: Results, names: Sequence[str]) -> None:
    """Measure cases one after the other; one that fails is said, and the others go on."""
    found = rates(setting) if names else None
    if found is None:
        return
    results.add(
        Measured("matrix product", found.operations / 1e12, "TFLOP/s", "the best of six square ones in bfloat16"),
        Measured("copy", found.bytes / 1e9, "GB/s", "the best of six, read and written"),
    )
    for name in names:
        if setting.left() < 0:
            results.add(Measured(name, None, "", "no time was left"))
            continue
        try:
            for each in cases.CASES[name](setting, found):
                results.add(each)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # what is measured is kept, and the rest goes on
            said = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            results.add(Checked(name, passed=False, found=said, how="it ended early"))


if __name__ == "__main__":
    sys.exit(main())
