"""A benchmark of seconds, run through the real command line, and what its results are compared by."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from execution import warm

from harness.store.manifest import files
from harness.store.stages import Store
from harness.testing.distributions import write_distribution

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

KINDS = ("prepare", "train", "precompute", "generate", "score")

#: No test waits longer for a process.
PATIENCE = 900.0


def tiny(**changes: Any) -> dict[str, Any]:
    """Return a benchmark of one seed, one new model of one layer, the base, SFT and ESO; None takes a key away."""
    content = {
        "benchmark": "tiny",
        "seeds": [0],
        "models": [
            {
                "name": "new",
                "config": {"model_type": "gpt2", "n_layer": 1, "n_embd": 32, "n_head": 2, "n_positions": 160},
                "vocab_size": 400,
            }
        ],
        "template": {"text": "{instruction}\n{context}\nAnswer:", "text_without_context": "{instruction}\nAnswer:"},
        "train": {"dataset": "generated-instructions", "limit": 30},
        "evaluate": [{"dataset": "generated-instructions", "limit": 6, "label": "test"}],
        "reward": {"use": "rouge"},
        "recipe": {
            "epochs": 2, "batch_size": 4, "learning_rate": 1e-2, "max_prompt_length": 96, "max_completion_length": 48,
            "generate_length": 12, "diagnose_every": 2,
        },
        "decoding": {"t1": {"max_new_tokens": 8, "draws": 2}},
        "methods": ["sft", {"use": "eso", "temperatures": [0.5, 1.5], "coef": 1.0}],
        "metrics": ["rouge"],
        **changes,
    }  # fmt: skip
    return {name: value for name, value in content.items() if value is not None}


@dataclass
class Bench:
    """One benchmark file in a folder of its own, with its results beside it."""

    folder: Path
    content: Mapping[str, Any] = field(default_factory=tiny)
    environment: Mapping[str, str] = field(default_factory=dict)
    cold: bool = False
    """Whether each run imports what it needs itself, as a user's does; see :mod:`execution.warm`."""

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def store(self) -> Store:
        return Store(self.results)

    @property
    def file(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "bench.yaml"
        path.write_text(json.dumps(self.content, indent=1), encoding="utf-8")  # YAML 1.2 holds JSON
        return path

    def command(self, *arguments: str, name: str = "run") -> list[str]:
        where = ["--results", str(self.results)]
        return [sys.executable, "-m", "harness", name, str(self.file), *where, *arguments]

    def surroundings(self, **more: str) -> dict[str, str]:
        return {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "100", **self.environment, **more}

    def run(self, *arguments: str, code: int = 0, name: str = "run", **environment: str) -> str:
        """Run to the end, check the exit code and return standard error (no traceback in it).

        Where nothing is said of ``--jobs`` there is one worker, which costs less than two: what is timed has one.
        """
        if name == "run" and "--jobs" not in arguments and "timing" not in self.content:
            arguments = ("--jobs", "1", *arguments)
        done = self.ended(self.command(*arguments, name=name), self.surroundings(**environment))
        assert done.returncode == code, done.stderr + done.stdout
        assert "Traceback" not in done.stderr
        return done.stderr

    def ended(
        self, command: Sequence[str], environment: Mapping[str, str], **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a :meth:`command` to its end; ``more`` as for :func:`execution.warm.started`."""
        return warm.ended(command, env=environment, cold=self.cold, timeout=PATIENCE, cwd=self.folder, **more)

    @contextlib.contextmanager
    def running(self, *arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
        """Start a run; what is left of it afterwards is killed."""
        process = warm.started(
            self.command(*arguments), env=self.surroundings(**environment), cold=self.cold, cwd=self.folder,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                kill_tree(process.pid)
            if process.stderr is not None and not process.stderr.closed:
                process.communicate()

    def digests(self) -> dict[tuple[str, str], dict[str, str]]:
        """Return the sha256 of every file that must not depend on timing, by kind and id of its stage."""
        found = {}
        for kind in KINDS:
            for record in self.store.records(kind):
                measured = record.manifest["measured"]
                present = files(record.manifest).items()
                found[kind, record.id] = {name: e["sha256"] for name, e in present if name not in measured}
        return found

    def stages(self, kind: str) -> dict[str, Any]:
        """Return the records of a kind by the label of the stage."""
        return {record.label: record for record in self.store.records(kind)}

    def tables(self) -> dict[str, Any]:
        """Return every table without its timings."""
        board = json.loads((self.board("json")).read_text(encoding="utf-8"))
        tables = {name: table for name, table in board["tables"].items() if name != "timing"}
        for table in tables.values():
            for row in table["rows"]:
                row["cells"].pop("step", None)
        return tables

    def board(self, suffix: str) -> Path:
        """Return a written leaderboard; the newest where runs with ``-o`` wrote their own."""
        found = sorted(self.results.glob(f"tiny/*/leaderboard.{suffix}"), key=lambda path: path.stat().st_mtime_ns)
        return found[-1]


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    """Read a run's progress until a line holds ``text``."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if text in line:
            return
    raise AssertionError(f"{text!r} was never said, but:\n{''.join(seen)}")


def descendants(pid: int) -> list[int]:
    """Return every process below one."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text(encoding="utf-8").split()):
                found += [child, *descendants(child)]
    return found


def kill_tree(pid: int) -> None:
    """Kill a process and all below it, as a machine that goes down does."""
    for each in (pid, *descendants(pid)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Whether a process runs, and is not just waiting to be noticed."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in {"Z", "X"}


def all_end(pids: list[int]) -> bool:
    """Wait for processes to end by themselves."""
    deadline = time.monotonic() + PATIENCE
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(alive, pids))


PROBE = '''
"""A method that is SFT before a step and ESO from it on, and rewards and metrics that misbehave."""

import math

from harness.api import Column, MethodRegistration, MetricRegistration, NoOptions, Options, RewardRegistration, hookimpl


class LateOptions(Options):
    begin: int = 0
    temperatures: tuple[float, ...] = (0.5, 1.5)
    coef: float = 1.0


def nan_reward(*, prompts, completions, completion_ids, **columns):
    return [math.nan for _ in completions]


class Broken:
    def __init__(self, options):
        self.options = options

    def score(self, samples, services):
        raise ZeroDivisionError("the metric's own mistake")


@hookimpl
def harness_register_methods():
    return [MethodRegistration(
        name="late", summary="SFT, then ESO", options=LateOptions, build="probe_method:Late",
        needs=frozenset({"reward"}))]


@hookimpl
def harness_register_rewards():
    return [RewardRegistration(
        name="nan", summary="Never a number", options=NoOptions, build="probe:nan_reward", range=(0.0, 1.0),
        function=True)]


@hookimpl
def harness_register_metrics():
    return [MetricRegistration(
        name="broken", summary="Raises", options=NoOptions, build="probe:Broken", role="score",
        columns=(Column("broken", "Broken", higher_is_better=True),))]
'''

PROBE_METHOD = """
import os
import signal
from pathlib import Path

from harness_plugins.methods.eso import ESOOptions
from harness_plugins.methods.eso.method import ESO
from harness_plugins.methods.sft import SFTOptions
from harness_plugins.methods.sft.method import SFT


class Late:
    def __init__(self, options):
        self.begin = options.begin
        self.sft = SFT(SFTOptions())
        self.eso = ESO(ESOOptions(temperatures=options.temperatures, coef=options.coef))

    def setup(self, run):
        self.sft.setup(run)
        self.eso.setup(run)

    def step(self, run, batch):
        flag = Path(os.environ.get("PROBE_DIES_WITH", "none"))
        if run.progress.step > self.begin and flag.exists() and (lives := flag.read_text()):
            flag.write_text(lives[1:])
            os.kill(os.getpid(), signal.SIGKILL)
        return (self.eso if run.progress.step >= self.begin else self.sft).step(run, batch)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass
"""


def install_probe(folder: Path) -> dict[str, str]:
    """Write an outside distribution and return the environment in which it is installed."""
    modules = {"probe.py": PROBE, "probe_method.py": PROBE_METHOD}
    write_distribution(folder, "probe", entry_points={"probe": "probe"}, modules=modules)
    known = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([str(folder), *([known] if known else [])])}
