"""``python tests/clusters/cost.py [HOST:PORT]``: what each executor costs a stage.

A stage that prepares a few rows takes milliseconds itself; several, one at a time, after a first that is not counted.
With an address, Ray is measured too.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from execution.bench import Bench, tiny
from execution.opened import open_on

N = 8


def seconds(**execution: Any) -> list[float]:
    """Return how long each stage takes from when it is handed out to when its end is heard."""
    data = [{"dataset": "generated-instructions", "limit": n + 1, "label": f"d{n}"} for n in range(N + 1)]
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        opened = open_on(Bench(Path(folder), tiny(evaluate=data)), **execution)
        try:
            for stage in opened.plan.evaluations.values():
                began = time.monotonic()
                opened.begin(stage)
                end = opened.end()
                assert end.kind == "done", end.body
                taken.append(time.monotonic() - began)
        finally:
            opened.executor.close()
    return taken


def main() -> None:
    """Print a line for each."""
    asked: dict[str, dict[str, str]] = {"local": {}, "slurm on this machine": {"executor": "slurm", "address": "local"}}
    if len(sys.argv) > 1:
        asked["ray"] = {"executor": "ray", "address": sys.argv[1]}
    for name, execution in asked.items():
        first, *others = seconds(**execution)
        print(f"{name}: the first stage {first:.2f} s, each further one {statistics.median(others):.3f} s")


if __name__ == "__main__":
    main()
