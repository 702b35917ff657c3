"""Random faults of real processes: killed, stopped, signalled, two runs at once, data-parallel ones."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import time
from typing import TYPE_CHECKING, Any

from execution.bench import PATIENCE, Bench, all_end, descendants, kill_tree
from execution.patient import fail_at, install_patient
from faults.inline import differing, left, outcome
from faults.miniature import miniature

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping
    from pathlib import Path

#: Signals that a run hears.
HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

#: What a run may end with: done, cells that failed, stopped, killed; and by a signal before it hears any.
_FINE = {0, 1, 3, -signal.SIGKILL, *(128 + number for number in HEARD), *(-number for number in HEARD)}


class Case:
    """Runs of one benchmark that meet faults, and what an undisturbed one comes to: by its number of ranks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = install_patient(folder / "plugin")
        self.expected: dict[int, dict[str, Any]] = {}
        self.long: dict[int, float] = {}
        for ranks in (1, 2):
            bench, began = self.bench(f"whole-{ranks}"), time.monotonic()
            bench.run(*self.arguments(ranks))
            self.long[ranks] = time.monotonic() - began
            self.expected[ranks] = outcome(bench)

    def bench(self, name: str) -> Bench:
        """Return the benchmark in a folder of its own."""
        content = miniature("patient", execution={"checkpoint_minutes": 1e-6, "rank_timeout_minutes": 0.25})
        return Bench(self.folder / name, content, self.environment)

    def arguments(self, ranks: int) -> list[str]:
        """Return the command's."""
        return ["--jobs", "1", "--quiet", "--processes", str(ranks)]

    def meet(self, seed: int, kind: str) -> str:
        """Let a run meet a fault, and perhaps the one that goes on from it too, and check the next; return the kind."""
        chance = random.Random(seed)
        ranks = chance.choice([1, 2]) if kind != "rank" else 2
        bench = self.bench("case")
        shutil.rmtree(bench.folder, ignore_errors=True)
        bench.folder.mkdir()
        said = f"seed {seed}, {kind}, {ranks} processes"
        for _ in range(chance.choice([1, 1, 2])):  # what goes on is hit again, some times
            FAULTS[kind](self, bench, ranks, chance)
        bench.run(*self.arguments(ranks))
        assert not (different := differing(self.expected[ranks], outcome(bench))), (said, different[:5])
        assert not left(bench.results), said
        return kind


def _ends(process: subprocess.Popen[str]) -> str:
    """Wait until a run ends in a way that is allowed, and with it all its workers."""
    everything = descendants(process.pid)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode in _FINE, (process.returncode, said)
    assert "Traceback" not in said, said
    assert all_end(everything)
    return said


def _moment(case: Case, ranks: int, chance: random.Random) -> None:
    time.sleep(chance.uniform(0.0, 1.0) * case.long[ranks])


def _killed(case: Case, bench: Bench, ranks: int, chance: random.Random) -> None:
    """Kill all processes of a run, its first one alone, or one of its workers."""
    with bench.running(*case.arguments(ranks)) as process:
        _moment(case, ranks, chance)
        below = descendants(process.pid)
        match chance.choice(["all", "first", "worker"]):
            case "all":
                kill_tree(process.pid)
            case "first":
                process.kill()
            case _ if below:
                _send(chance.choice(below), signal.SIGKILL)
        _ends(process)
        assert all_end(below)


def _signalled(case: Case, bench: Bench, ranks: int, chance: random.Random) -> None:
    """Send signals to a run, or to all of its processes."""
    with bench.running(*case.arguments(ranks)) as process:
        for _ in range(chance.randint(1, 3)):
            time.sleep(chance.uniform(0.0, 0.5) * case.long[ranks])
            everyone = [process.pid, *(descendants(process.pid) if chance.random() < 0.5 else [])]
            number = chance.choice(HEARD)
            for each in everyone:
                _send(each, number)
        _ends(process)


def _doubled(case: Case, bench: Bench, ranks: int, chance: random.Random) -> None:
    """Let two runs make the same results at once, and kill one of them."""
    bench.file.touch()
    with bench.running(*case.arguments(ranks)) as one, bench.running(*case.arguments(ranks)) as two:
        _moment(case, ranks, chance)
        below = descendants(one.pid)
        kill_tree(one.pid)
        _ends(one)
        assert all_end(below)
        _ends(two)
        assert two.returncode == 0


def _rank(case: Case, bench: Bench, ranks: int, chance: random.Random) -> None:
    """Let one of two ranks die, stop or raise at a step."""
    rank, step = chance.randrange(ranks), chance.randrange(2, 4)
    word = fail_at(rank, step, chance.choice(["die", "stop", "raise"]), bench.folder / "word")
    with bench.running(*case.arguments(ranks), PATIENT=word) as process:
        _ends(process)


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


FAULTS: Mapping[str, Callable[[Case, Bench, int, random.Random], None]] = {
    "killed": _killed,
    "signalled": _signalled,
    "doubled": _doubled,
    "rank": _rank,
}
