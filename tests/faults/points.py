"""Every point of a run at which it may be interrupted, and whether what is left leads to the same results.

A run is recorded, change by change of its results folder. What a kill leaves after each change, or in the middle of
it, and what a power failure leaves, is built again, and a run goes on from it. Before each change two forks find the
disk full from then on, and this one change failing; a run goes on from what they leave. Of equal states one is tried.

As a script, ``python -m faults.points WHAT``, it prints what it has found as JSON; WHAT is JSON too, see
:class:`Wanted`.
"""

from __future__ import annotations

import collections
import errno
import functools
import hashlib
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from execution.bench import Bench
from faults.disks import Disk, Made, digest, lay, plain, read, torn
from faults.inline import Ended, command, differing, forked, left, outcome, print_into, printing_into, wait_for_fork
from faults.watchers import NEED_SPACE, Outside, Recorder, Refusing, undo

from harness import disk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from faults.disks import Loss, State

    from harness.disk import Change

LOSSES: tuple[Loss, ...] = ("nothing", "content", "names")

#: What is called a failure of a change: the system's number for it.
ERRORS = {"full": errno.ENOSPC, "error": errno.EIO}

#: Seconds after which a machine is there again, and marks that have lost their content count for nothing.
_REBOOT = 7200.0

#: Most descriptions of what is wrong that are given.
_MOST = 20


@dataclass(frozen=True)
class Wanted:
    """What is to be enumerated."""

    folder: str
    """Where everything is done; the recorded run begins with what ``results`` in it holds."""
    content: dict[str, Any]
    """Of the benchmark file."""
    every: int = 1
    """One of so many changes is tried."""
    first: int = 0
    """How many changes are passed over before."""
    tables: int = 1
    """The same for changes of tables and pages, which every run makes alike."""
    arguments: tuple[str, ...] = ()
    """More for the command."""


@dataclass
class Found:
    """What came of it."""

    points: int = 0
    """Changes that the run makes."""
    tried: int = 0
    """Changes at which something was let fail."""
    faults: dict[str, int] = field(default_factory=dict)
    """Failures by kind: states that were built, and forks that met one."""
    codes: dict[str, int] = field(default_factory=dict)
    """Exit codes of the forks that met one."""
    states: int = 0
    """Different states, from each of which a run went on."""
    seconds: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    """What should not have been."""


class Shelf:
    """States that are told apart by their digests, and which failure first left each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()

    def put(self, state: State, label: str) -> None:
        """Keep a state, unless an equal one is there."""
        path = self._folder / f"{digest(state)}.json"
        if not path.exists():
            content = {name: None if part is None else self._blob(part) for name, part in state.items()}
            path.write_text(json.dumps([label, content]), encoding="utf-8")

    def __iter__(self) -> Iterator[tuple[str, State]]:
        """Yield every state with its label."""
        for path in sorted(self._folder.glob("*.json")):
            label, content = json.loads(path.read_text(encoding="utf-8"))
            yield label, {name: None if part is None else self.blob(part) for name, part in content.items()}

    def _blob(self, content: bytes) -> str:
        name = hashlib.sha256(content).hexdigest()
        if not (self._folder / name).exists():
            (self._folder / name).write_bytes(content)
        return name

    def add(self, change: Made) -> list[str]:
        """Keep a change; return what :meth:`changed` takes."""
        return [change.kind, change.path, change.source, self._blob(change.content)]

    def changed(self, said: Sequence[str]) -> Made:
        """Return a change that was kept."""
        return Made(said[0], said[1], said[2], self.blob(said[3]))

    @functools.lru_cache(maxsize=256)  # noqa: B019  # there is one shelf a process
    def blob(self, name: str) -> bytes:
        """Return content that was kept."""
        return (self._folder / name).read_bytes()


class Forking(Recorder):
    """Records a run, and lets forks of it meet a failure at each change."""

    def __init__(self, search: Search) -> None:
        super().__init__(search.results)
        self.search = search
        self.is_fork = False
        self.met: list[tuple[str, str]] = []
        """Kind and label of each failure."""

    def before(self, change: Change) -> None:
        """Let forks find that this change fails."""
        self._meet(change, [])

    def written(self, changes: list[Change]) -> None:
        """Let forks find that each of a library's changes fails."""
        for place, change in enumerate(changes):
            self._meet(change, changes[place:])
            self.note(change)

    def _meet(self, change: Change, undone: list[Change]) -> None:
        number = len(self.made)
        if self.is_fork or not self.search.tries(number, self._below(change.path)):
            return
        for kind, error in ERRORS.items():
            if kind == "full" and change.kind not in NEED_SPACE:
                continue
            label = f"{kind} at change {number}, {change.kind} {plain(self._below(change.path))}"
            self.met.append((kind, label))
            self.inside += 1  # what follows is no change of the run
            before = read(self.root)
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            pid = os.fork()
            if pid == 0:
                self.is_fork = True
                print_into(self.search.folder / f"met-{len(self.met)}.txt")
                disk._watcher = Refusing(self.root, error, times=1 << 30 if kind == "full" else 0)
                if undone:
                    undo(undone)
                raise OSError(error, os.strerror(error), change.path)
            wait_for_fork(pid)
            self.search.shelf.put(read(self.root), label)
            lay(before, self.root)
            self.inside -= 1


class Search:
    """One enumeration."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.folder = Path(wanted.folder)
        self.bench = Bench(self.folder, wanted.content)
        self.results = self.bench.results
        self.results.mkdir(parents=True, exist_ok=True)
        self.start = read(self.results)
        self.shelf = Shelf(self.folder / "shelf")
        self.found = Found()
        self._wrong: collections.Counter[str] = collections.Counter()

    def tries(self, number: int, path: str) -> bool:
        """Whether something is let fail at a change of a path below the results."""
        every = self.wanted.every if path.startswith(("store", ".")) else self.wanted.every * self.wanted.tables
        return number >= self.wanted.first and (number - self.wanted.first) % every == 0

    def run(self) -> Found:
        """Record, fail, and go on."""
        with printing_into(self.folder / "first.txt"):  # what a first run loads and finds out, every fork then has
            command("run", str(self.bench.file), "--results", str(self.folder / "first"), *self.wanted.arguments)
        for name, part in (("record", self._record), ("build", self._build), ("go on", self._go_on)):
            began = time.monotonic()
            part()
            self.found.seconds[name] = round(time.monotonic() - began, 1)
        return self.found

    def _command(self) -> int:
        return command("run", str(self.bench.file), "--results", str(self.results), *self.wanted.arguments)

    def _record(self) -> None:
        ended = forked(self._recorded, self.folder)
        assert ended.gave is not None, ended.said
        self.expected = ended.gave["outcome"]
        self.made = [self.shelf.changed(change) for change in ended.gave["made"]]
        self.found.points = len(self.made)
        self.found.tried = sum(self.tries(number, change.path) for number, change in enumerate(self.made))
        self.found.wrong += [f"not by harness.disk: {change}" for change in ended.gave["outside"]]
        assert ended.gave["code"] == 0, ended.said
        assert lay_is(self.results, self._replayed()), "the record is not what was written"
        for number, (kind, label) in enumerate(ended.gave["met"], 1):
            self._count(kind)
            self._judge(label, number)

    def _recorded(self) -> dict[str, Any]:
        """Run, in a fork; each fork that meets a failure comes by here too."""
        recorder = Forking(self)
        outside = Outside(recorder)
        with disk.watched(recorder):
            code = self._command()
        if recorder.is_fork:
            end = {"code": code, "outcome": outcome(self.bench) if code == 0 else None}
            (self.folder / f"met-{len(recorder.met)}.json").write_text(json.dumps(end), encoding="utf-8")
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
        made = [self.shelf.add(change) for change in recorder.made]
        return {
            "code": code,
            "outcome": outcome(self.bench),
            "made": made,
            "met": recorder.met,
            "outside": outside.seen,
        }

    def _replayed(self) -> State:
        whole = Disk(self.start)
        for change in self.made:
            whole.make(change)
        return whole.state()

    def _judge(self, label: str, number: int) -> None:
        """Check what a fork said that met a failure: one message, where its results are not as they should be."""
        said = (self.folder / f"met-{number}.txt").read_text(encoding="utf-8", errors="replace")
        end = self.folder / f"met-{number}.json"
        gave = json.loads(end.read_text(encoding="utf-8")) if end.exists() else {"code": None, "outcome": None}
        code = gave["code"]
        self.found.codes[str(code)] = self.found.codes.get(str(code), 0) + 1
        fine = gave["outcome"] == self.expected if code == 0 else code == 3 and said.count("error: ") == 1
        if not fine or "Traceback" in said:
            self._complain(label, f"exit code {code}\n{said}")

    def _build(self) -> None:
        """Build what kills and power failures leave."""
        now = Disk(self.start)
        for number, change in enumerate(self.made):
            where = f"{number}, {change.kind} {plain(change.path)}"
            if not self.tries(number, change.path):
                now.make(change)
                continue
            if change.kind == "write" and len(change.content) > 1:
                now.make(torn(change))
                self._count("torn")
                self.shelf.put(now.state(), f"torn at change {where}")
            now.make(change)
            for loss in LOSSES:
                name = "kill" if loss == "nothing" else f"power failure, {loss} lost"
                self._count(name)
                self.shelf.put(now.state(loss), f"{name} after change {where}")

    def _go_on(self) -> None:
        """Run again from each state."""
        for label, state in self.shelf:
            self.found.states += 1
            lay(state, self.results, seconds_ago=_REBOOT if label.startswith("power failure") else 0.0)
            ended = forked(self._resumed, self.folder)
            gave = ended.gave or {"code": None, "outcome": None, "left": []}
            why = self._differs(ended, gave)
            if why:
                self._complain(label, f"{why}\n{ended.said}")

    def _resumed(self) -> dict[str, Any]:
        code = self._command()
        return {"code": code, "outcome": outcome(self.bench) if code == 0 else None, "left": left(self.results)}

    def _differs(self, ended: Ended, gave: dict[str, Any]) -> str:
        if gave["code"] != 0 or "Traceback" in ended.said:
            return f"exit code {gave['code']}"
        if gave["outcome"] != self.expected:
            return f"the results differ: {differing(self.expected, gave['outcome'])}"
        if gave["left"]:
            return f"left behind: {gave['left']}"
        return "a stage was there and was not whole" if "rebuilt: " in ended.said else ""

    def _count(self, name: str) -> None:
        self.found.faults[name] = self.found.faults.get(name, 0) + 1

    def _complain(self, label: str, why: str) -> None:
        self._wrong[label.partition(" ")[0]] += 1
        if len(self.found.wrong) < _MOST:
            self.found.wrong.append(f"{label}: {why[-3000:]}")
        print(f"wrong: {label}: {why[-3000:]}", file=sys.stderr, flush=True)


def lay_is(root: Path, state: State) -> bool:
    """Whether a folder holds a state."""
    return digest(read(root)) == digest(state)


if __name__ == "__main__":
    found = Search(Wanted(**json.loads(sys.argv[1]))).run()
    print(json.dumps(asdict(found)))
