"""Measure how the cost of one on-policy step grows, ours and that of TRL's GRPO, and write tables and a figure.

``python tests/perf/growth.py [--out FOLDER] [--rounds N] [--threads 2]``: over the candidates a prompt, the tokens of
the prompts and the prompts a step, each with the other two at a base point. Seconds are medians of both sides in turns
in one process a point. Memory is what two steps held at most above what was held before the first, in a process of its
own for each side of a point. Needs the real data sets (``HARNESS_TEST_DATA``), TRL and Linux.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import json
import os
import subprocess
import tempfile
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
from perf.pace import Side, in_turns
from perf.panels import Panel, Row, draw
from perf.resident import Growth, supported
from perf.table import machine, said
from perf.workload import NEW_TOKENS, Task, exact_rows, make_model, make_tokeniser

from harness.text.encode import EncodedRow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

OURS, THEIRS = "ours", "TRL"
#: Steps that are not counted.
_WARM_UP = 1


@dataclass(frozen=True)
class Point:
    """The size of a step."""

    candidates: int = 4
    prompt: int = 128
    """Tokens of each prompt."""
    batch: int = 4
    """Prompts a step."""


@dataclass(frozen=True)
class Axis:
    """One of a step's sizes, and the values that it takes."""

    name: str
    says: str
    values: tuple[int, ...]


BASE = Point()
#: One candidate is DRL's without a baseline, and ours alone: ESO and GRPO have no gradient for a group of one.
AXES = (
    Axis("candidates", "candidates a prompt (k)", (1, 2, 4, 8, 16)),
    Axis("prompt", "tokens a prompt", (64, 128, 256, 512, 896)),
    Axis("batch", "prompts a step", (1, 2, 4, 8, 16)),
)


@dataclass(frozen=True)
class Cost:
    """What a step of one point costs either side."""

    seconds: Mapping[str, Sequence[float]]
    """Of each round."""
    median: Mapping[str, float]
    ratio: float | None
    """How many times as fast ours is, the median over rounds; None where TRL has no such step."""
    megabytes: Mapping[str, float]


Costs = dict[Point, Cost]


def point_on(axis: Axis, value: int) -> Point:
    """Return the base point with another value on one axis."""
    return replace(BASE, **{axis.name: value})


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all points and write ``growth.json``, ``growth.md`` and ``growth.svg``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, help="folder for the tables, such as results/performance; printed unless given"
    )
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds of each point (default 3)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of either side (default 2)")
    parser.add_argument("--few", action="store_true", help="the smallest value of each axis and the base point alone")
    parser.add_argument("--measure", type=json.loads, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if not supported():
        raise SystemExit("the memory of a process is read from /proc, which this system does not have")
    if asked.measure is not None:
        measure(**asked.measure)
        return
    axes = [replace(axis, values=tuple(sorted({axis.values[0], getattr(BASE, axis.name)}))) for axis in AXES]
    axes = axes if asked.few else list(AXES)
    points = {axis: [point_on(axis, value) for value in axis.values] for axis in axes}
    costs: Costs = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = make_model(folder / "model", make_tokeniser(folder / "tokenizer"))
        for tokens in {point.prompt for each in points.values() for point in each}:
            _keep(folder / f"{tokens}.json", exact_rows(model, tokens))
        for number, axis in enumerate(axes, 1):
            for point in (point for point in points[axis] if point not in costs):
                costs[point] = _cost(folder, model, point, asked.rounds, asked.threads)
                print(f"{point}: {_said(costs[point])}", flush=True)
            # after each axis: a run that is cut off keeps what it has
            if asked.out or number == len(axes):
                write(costs, axes[:number], {**machine(asked.threads), "rounds": asked.rounds}, asked.out)


def _cost(folder: Path, model: Path, point: Point, rounds: int, threads: int) -> Cost:
    found = {}
    sides = _sides(point)
    for what in ("time", *sides):
        out = folder / "found.json"
        task = {"what": what, "model": str(model), "point": asdict(point), "rounds": rounds, "threads": threads}
        task |= {"rows": str(folder / f"{point.prompt}.json"), "out": str(out)}
        command = [sys.executable, __file__, "--measure", json.dumps(task)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{what} at {point} failed:\n{done.stdout}{done.stderr}")
        found[what] = json.loads(out.read_text(encoding="utf-8"))
    return Cost(**found["time"], megabytes={side: found[side] for side in sides})


def _sides(point: Point) -> tuple[str, ...]:
    return (OURS,) if point.candidates == 1 else (OURS, THEIRS)


def measure(*, what: str, model: str, point: Mapping[str, int], rows: str, rounds: int, threads: int, out: str) -> None:
    """Measure one thing at one point and write it to ``out``; the whole task of a process."""
    import torch

    torch.set_num_threads(threads)
    size = Point(**point)
    task = Task("XSum", _kept(Path(rows)), size.batch)
    by_name: Mapping[str, Callable[[], Any]] = {
        "time": lambda: _time(Path(model), task, size, rounds, threads),
        OURS: lambda: _our_memory(Path(model), task, size),
        THEIRS: lambda: _their_memory(Path(model), task, size),
    }
    Path(out).write_text(json.dumps(by_name[what]()), encoding="utf-8")


def _steps(model: Path, task: Task, point: Point, *, warm: bool = True) -> Callable[[], None]:
    from perf.ours import Steps

    if point.candidates == 1:
        return Steps(model, task, "drl", warm=warm, use_sft_term=False, baseline="none").take
    flat = [1.0] * point.candidates
    return Steps(model, task, "eso", warm=warm, use_sft_term=False, temperatures=flat).take


def _time(model: Path, task: Task, point: Point, rounds: int, threads: int) -> dict[str, Any]:
    from perf.trl_trainers import Match, grpo

    match = Match(model.parent, model, task, _WARM_UP + rounds, candidates=point.candidates)
    sides = {OURS: Side.of(_steps, model, task, point), THEIRS: Side(grpo, (match,))}
    here = {name: sides[name] for name in _sides(point)}
    seconds = in_turns(here, rounds=rounds, threads=threads, warm_up=_WARM_UP)
    ratio = seconds.ratio(THEIRS, OURS) if THEIRS in here else None
    return {"seconds": seconds.sides, "median": {side: seconds.median(side) for side in here}, "ratio": ratio}


def _our_memory(model: Path, task: Task, point: Point) -> float:
    growth = Growth()
    take = _steps(model, task, point, warm=False)
    growth.begin()
    take()
    take()
    return growth.read()


def _their_memory(model: Path, task: Task, point: Point) -> float:
    from perf.trl_trainers import Match, grpo

    class Memory:
        """Turns that come at once."""

        growth = Growth()
        found = 0.0

        def begin(self) -> None:
            self.growth.begin()

        def end(self) -> None:
            self.found = self.growth.read()

    turns = Memory()
    grpo(turns, Match(model.parent, model, task, 1, candidates=point.candidates))
    return turns.found


def _keep(path: Path, rows: Sequence[EncodedRow]) -> None:
    """Write rows for other processes, which so need neither data sets nor the memory to read them."""
    kept = [{"id": r.id, "prompt": r.prompt.tolist(), "text": r.text, "columns": dict(r.columns)} for r in rows]
    path.write_text(json.dumps(kept), encoding="utf-8")


def _kept(path: Path) -> tuple[EncodedRow, ...]:
    rows = json.loads(path.read_text(encoding="utf-8"))
    return tuple(EncodedRow(**{**row, "prompt": np.asarray(row["prompt"], dtype=np.int32)}) for row in rows)


def _said(cost: Cost) -> str:
    seconds = " against ".join(f"{number:.3g}" for number in cost.median.values())
    memory = " against ".join(f"{number:.0f}" for number in cost.megabytes.values())
    return f"{seconds} s ({_ratio(cost)}), {memory} MB"


def _ratio(cost: Cost) -> str:
    return "–" if cost.ratio is None else f"{cost.ratio:.2f}"


def _cell(numbers: Mapping[str, float], side: str, form: str) -> str:
    return format(numbers[side], form) if side in numbers else "–"


def write(costs: Costs, axes: Sequence[Axis], conditions: Mapping[str, Any], folder: Path | None) -> None:
    """Write the three files, or print the tables where there is no folder."""
    text = markdown(costs, axes, conditions)
    if folder is None:
        print(text)
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "growth.md").write_text(text, encoding="utf-8")
    (folder / "growth.svg").write_text(figure(costs, axes), encoding="utf-8")
    found = {
        axis.name: [{"value": value, **asdict(costs[point_on(axis, value)])} for value in axis.values] for axis in axes
    }
    whole = {"conditions": dict(conditions), "base": {**asdict(BASE), "new_tokens": NEW_TOKENS}, "axes": found}
    (folder / "growth.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def _base() -> str:
    return (
        f"k = {BASE.candidates}, prompts of {BASE.prompt} tokens and {BASE.batch} prompts a step where not varied, "
        f"{NEW_TOKENS} new tokens"
    )


def markdown(costs: Costs, axes: Sequence[Axis], conditions: Mapping[str, Any]) -> str:
    """Return a table for each axis."""
    lines = [
        "# How the cost of an on-policy step grows",
        "",
        (
            f"{said(conditions)}. Made by `python tests/perf/growth.py`: ESO without its "
            f"supervised term, all temperatures 1, against TRL's GRPO; GPT-2 of 5.3 M parameters, XSum prompts, "
            f"{_base()}. Seconds are medians of {conditions['rounds']} rounds, both sides in turns, each in a "
            "process of its own; the ratio is the median over rounds. MB (10^6 bytes) are what two steps held at most "
            "above what was held before the first (model loaded, no moments yet), in other processes. k = 1 "
            "is DRL without a baseline: ESO and GRPO refuse a group of one, which has no gradient. Ours holds the "
            "activations of at most 1,024 tokens at a time, whatever the group or batch."
        ),
        "",
        "![The same as a figure](growth.svg)",
    ]
    for axis in axes:
        lines += [
            "",
            f"## By {axis.says}",
            "",
            f"| {axis.says} | ours s | TRL s | ratio | ours MB | TRL MB |",
            "|--:|--:|--:|--:|--:|--:|",
        ]
        for value in axis.values:
            cost = costs[point_on(axis, value)]
            cells = [str(value), *(_cell(cost.median, side, ".3g") for side in (OURS, THEIRS)), _ratio(cost)]
            cells += [_cell(cost.megabytes, side, ".0f") for side in (OURS, THEIRS)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def figure(costs: Costs, axes: Sequence[Axis]) -> str:
    """Return the seconds, and below them the memory, over each axis."""

    def line(axis: Axis, side: str, read: Callable[[Cost, str], float]) -> list[tuple[float, float]]:
        points = ((value, point_on(axis, value)) for value in axis.values)
        return [(value, read(costs[point], side)) for value, point in points if side in _sides(point)]

    def row(up: str, read: Callable[[Cost, str], float]) -> Row:
        return Row(up, [Panel(axis.says, {s: line(axis, s, read) for s in (OURS, THEIRS)}) for axis in axes])

    return draw(
        "How the cost of an on-policy step grows",
        f"{_base()}; both axes logarithmic",
        [
            row("seconds a step", lambda cost, side: cost.median[side]),
            row("peak memory of a step, MB", lambda cost, side: max(1.0, cost.megabytes[side])),
        ],
    )


if __name__ == "__main__":
    main()
