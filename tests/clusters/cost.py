"""``python tests/clusters/cost.py [HOST:PORT]``: what each executor costs a stage, beside what the stage itself takes.

Runs of one and of N stages that prepare a few rows, one stage at a time, the shorter of two each; the difference is
shared out. With an address, Ray is measured too.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from execution.bench import Bench, tiny

N = 9


def seconds(stages: int, *arguments: str) -> float:
    """Return the shorter of two runs of so many stages."""
    data = [{"dataset": "generated-instructions", "limit": 2, "label": f"d{n}"} for n in range(stages)]
    taken = []
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(Path(folder), tiny(methods=[], evaluate=data), cold=True)
            began = time.monotonic()
            bench.run("--jobs", "1", *arguments)
            taken.append(time.monotonic() - began)
    return min(taken)


def main() -> None:
    """Print a table."""
    asked = {"local": [], "slurm, on this machine": ["--executor", "slurm", "--address", "local"]}
    if len(sys.argv) > 1:
        asked["ray"] = ["--executor", "ray", "--address", sys.argv[1]]
    for name, arguments in asked.items():
        one, many = seconds(1, *arguments), seconds(N, *arguments)
        print(f"{name}: {one:.1f} s a run of one, {(many - one) / (N - 1):.2f} s each further stage")


if __name__ == "__main__":
    main()
