"""Random faults: some of every kind in a row, each in a run that goes on from the one before, and then one without.

As a script, ``python -m faults.cases WHAT``, it prints what it has found as JSON; WHAT is JSON too, see
:class:`Wanted`. A case is a function of its seed, but for the moments at which processes are killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from execution.bench import Bench
from faults.inline import Ended, command, differing, forked, left, outcome, printing_into
from faults.spoil import spoil
from faults.watchers import Recorder, full

from harness import disk

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.disk import Change

#: Exit codes that a fault may lead to: all done, cells that failed, the machine cannot do it.
_FINE = {0, 1, 3}

_NEWNS, _PRIVATE = 0x00020000, 1 << 18 | 1 << 14


@dataclass(frozen=True)
class Wanted:
    """Which cases are tried."""

    folder: str
    content: dict[str, Any]
    seeds: list[int]
    kinds: list[str] = field(default_factory=list)
    """Of faults; all of them by default."""


@dataclass
class Found:
    """What came of it."""

    faults: dict[str, int] = field(default_factory=dict)
    """How many there were of each kind."""
    codes: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


class Killing(Recorder):
    """Kills its process at a change, or in the middle of one that writes."""

    def __init__(self, root: Path, after: int, *, torn: bool) -> None:
        super().__init__(root)
        self.after = after
        self.torn = torn

    def note(self, change: Change) -> None:
        """Die, once the time has come."""
        self.after -= 1
        if self.after < 0:
            if self.torn and change.kind == "write":
                os.truncate(change.path, Path(change.path).stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)


class Cases:
    """Cases, one after another."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.folder = Path(wanted.folder)
        self.bench = Bench(self.folder, wanted.content)
        self.results = self.bench.results
        self.file = str(self.bench.file)
        self.spoilt: set[str] = set()
        self.found = Found()
        self.faults: dict[str, Callable[[random.Random], str]] = {
            "kill at a moment": self._kill_at_a_moment,
            "kill at a change": self._kill_at_a_change,
            "damage": self._damage,
            "missing": self._missing,
            "disk full": self._disk_full,
            "small disk": self._small_disk,
            "small files": self._small_files,
            "few descriptors": self._few_descriptors,
            "jumping clock": self._jumping_clock,
            "user without rights": self._user_without_rights,
        }
        if os.geteuid() != 0:
            for name in ("small disk", "user without rights"):
                del self.faults[name]

    def run(self) -> Found:
        """Try every case."""
        first = forked(lambda: self._whole(self.folder / "whole"), self.folder)
        assert first.gave is not None, first.said
        self.expected, self.long, self.changes = first.gave
        with printing_into(self.folder / "first.txt"):  # what a first run loads and finds out, every fork then has
            self._whole(self.folder / "first")
        began = time.monotonic()
        for seed in self.wanted.seeds:
            self._try(seed)
        self.found.seconds = round(time.monotonic() - began, 1)
        return self.found

    def _whole(self, place: Path) -> tuple[dict[str, Any], float, int]:
        """Return what an undisturbed run comes to, the seconds that it takes and the changes that it makes."""
        bench, began = Bench(place, self.wanted.content), time.monotonic()
        recorder = Recorder(bench.results)
        with disk.watched(recorder):
            assert command("run", str(bench.file), "--results", str(bench.results), "--quiet") == 0
        return outcome(bench), time.monotonic() - began, len(recorder.made)

    def _begin(self, chance: random.Random) -> None:
        """Begin with nothing, or with all that there can be."""
        shutil.rmtree(self.results, ignore_errors=True)
        self.spoilt.clear()
        self.folder.chmod(0o755)
        if chance.random() < 0.5:
            self.results.mkdir()
        else:
            shutil.copytree(self.folder / "whole" / "results", self.results)

    def _try(self, seed: int) -> None:
        chance, steps = random.Random(seed), []
        names = self.wanted.kinds or list(self.faults)
        self._begin(chance)
        for _ in range(chance.randint(1, 4)):
            name = chance.choice(names)
            self.found.faults[name] = self.found.faults.get(name, 0) + 1
            try:
                steps.append(f"{name}: {self.faults[name](chance)}")
            except AssertionError as error:
                self.found.wrong.append(f"seed {seed}, after {steps}, {name}: {str(error)[-3000:]}")
                return
        ended = forked(self._to_the_end, self.folder)
        gave = ended.gave or {"code": None, "outcome": None, "left": []}
        if gave["code"] != 0 or "Traceback" in ended.said or gave["left"] or gave["outcome"] != self.expected:
            why = f"exit code {gave['code']}, left {gave['left']}, {differing(self.expected, gave['outcome'])[:5]}"
            self.found.wrong.append(f"seed {seed}, after {steps}: {why}\n{ended.said[-3000:]}")

    def _run(self) -> int:
        return command("run", self.file, "--results", str(self.results), "--quiet")

    def _to_the_end(self) -> dict[str, Any]:
        code = self._run()
        return {
            "code": code,
            "outcome": outcome(self.bench, spoilt=self.spoilt) if code == 0 else None,
            "left": left(self.results),
        }

    def _after(self, prepare: Callable[[], Any]) -> str:
        """Run in a fork after something has been done in it; check what it says, and return its exit code as text."""

        def act() -> int:
            prepare()
            return self._run()

        return self._checked(forked(act, self.folder))

    def _checked(self, ended: Ended) -> str:
        code = ended.gave if ended.gave is not None else ended.code
        self.found.codes[str(code)] = self.found.codes.get(str(code), 0) + 1
        assert "Traceback" not in ended.said, ended.said
        forbidden = code == 2 and "is not readable" in ended.said  # what is said of an option
        assert code in _FINE or code == -signal.SIGKILL or forbidden, f"exit code {code}\n{ended.said}"
        assert code != 3 or ended.said.count("error: ") == 1, ended.said
        return f"exit code {code}"

    def _kill_at_a_moment(self, chance: random.Random) -> str:
        moment = chance.uniform(0.0, 1.2) * self.long

        def alarm(number: int, frame: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        def prepare() -> None:
            signal.signal(signal.SIGALRM, alarm)
            signal.setitimer(signal.ITIMER_REAL, moment)

        return f"{moment:.2f} s, {self._after(prepare)}"

    def _kill_at_a_change(self, chance: random.Random) -> str:
        number, torn = chance.randrange(self.changes), chance.random() < 0.5

        def prepare() -> None:
            disk._watcher = Killing(self.results, number, torn=torn)

        return f"{number}, {self._after(prepare)}"

    def _disk_full(self, chance: random.Random) -> str:
        number = chance.randrange(self.changes // 2)

        def prepare() -> None:
            disk._watcher = full(self.results, number)

        return f"{number}, {self._after(prepare)}"

    def _damage(self, chance: random.Random) -> str:
        files = sorted(path for path in self.results.rglob("*") if path.is_file())
        hit = chance.sample(files, min(len(files), chance.randint(1, 3)))
        self.spoilt.update(map(str, hit))
        return ", ".join(f"{spoil(path, chance)} {path.relative_to(self.results)}" for path in hit)

    def _missing(self, chance: random.Random) -> str:
        folders = sorted(path for path in self.results.rglob("*") if path.is_dir())
        if not folders:
            return "nothing is there"
        gone = chance.choice(folders)
        shutil.rmtree(gone)
        return str(gone.relative_to(self.results))

    def _small_disk(self, chance: random.Random) -> str:
        """Run on a file system of its own, which is too small; what is on it is then copied back."""
        size = 4096 * chance.randint(8, 700)
        kept = self.folder / "kept"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(self.results, kept)

        def act() -> int:
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.unshare(_NEWNS) == 0, os.strerror(ctypes.get_errno())
            assert libc.mount(None, b"/", None, _PRIVATE, None) == 0
            assert libc.mount(b"tmpfs", os.fsencode(self.results), b"tmpfs", 0, f"size={size}".encode()) == 0
            with contextlib.suppress(OSError, shutil.Error):  # what does not fit is not there
                shutil.copytree(kept, self.results, dirs_exist_ok=True)
            code = self._run()
            shutil.rmtree(kept)
            shutil.copytree(self.results, kept)
            return code

        said = self._checked(forked(act, self.folder))
        shutil.rmtree(self.results)
        kept.rename(self.results)
        return f"{size} bytes, {said}"

    def _small_files(self, chance: random.Random) -> str:
        size = int(2 ** chance.uniform(12, 17))  # what is said of it fits
        return f"{size} bytes, {self._limited(resource.RLIMIT_FSIZE, size)}"

    def _few_descriptors(self, chance: random.Random) -> str:
        more = chance.randint(1, 12)
        return f"{more} more, {self._limited(resource.RLIMIT_NOFILE, more)}"

    def _limited(self, limit: int, amount: int) -> str:
        def act() -> int:
            most = amount
            if limit == resource.RLIMIT_NOFILE:
                most += max(map(int, os.listdir("/proc/self/fd"))) + 1  # noqa: PTH208  # it has numbers, and no files
            hard = resource.getrlimit(limit)[1]
            resource.setrlimit(limit, (most, hard))
            try:
                return self._run()
            finally:
                resource.setrlimit(limit, (hard, hard))  # who tells what came of it may write again

        return self._checked(forked(act, self.folder))

    def _jumping_clock(self, chance: random.Random) -> str:
        jumps = [chance.choice([-1, 1]) * 10 ** chance.uniform(0, 9) for _ in range(50)]
        for path in self.results.rglob("*"):
            if chance.random() < 0.3:
                when = chance.choice([0.0, time.time() + 1e6, time.time() - 1e6])
                with contextlib.suppress(FileNotFoundError):
                    os.utime(path, (when, when))
        before = time.time
        calls = random.Random(chance.random())

        def jumped() -> float:
            return before() + calls.choice(jumps)

        def prepare() -> None:
            time.time = jumped

        return self._after(prepare)

    def _user_without_rights(self, chance: random.Random) -> str:
        """Run as nobody, in a folder that may be read and not written, or not even read."""
        mode = chance.choice([0o755, 0o700, 0o711])
        self.results.chmod(mode)

        def act() -> int:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            return self._run()

        try:
            return f"{mode:o}, {self._checked(forked(self._telling(act), self.folder))}"
        finally:
            self.results.chmod(0o755)

    def _telling(self, act: Callable[[], int]) -> Callable[[], int]:
        """Let what has no rights itself tell what came of it: the file for that is made before."""
        gave = self.folder / f"gave-{os.getpid()}"

        def telling() -> int:
            gave.touch()
            gave.chmod(0o666)
            gave.write_text("null", encoding="utf-8")
            return act()

        return telling


if __name__ == "__main__":
    print(json.dumps(asdict(Cases(Wanted(**json.loads(sys.argv[1]))).run())))
