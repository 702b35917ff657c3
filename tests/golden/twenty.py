"""Twenty steps of every method on a model of five thousand parameters: losses, gradient norms and rewards.

``python tests/golden/twenty.py`` compares them with those that are committed for this family of processors and says
where they part; ``--write`` writes them, ``--json`` prints them. ``--root`` takes the code of another checkout.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
import re
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT: Final = Path(__file__).resolve().parents[2]
#: One file a family of processors.
VALUES: Final = Path(__file__).resolve().parent / "values"
STEPS: Final = 20
#: Methods that search among weights have as few members as they may: each is a model of its own.
OPTIONS: Final[dict[str, dict[str, Any]]] = {"eggroll": {"population": 4}, "parameter-es": {"population": 4}}
#: Relative to 1 and more: how far float64 may be off on a processor of another family.
TOLERANCE: Final = 1e-7
#: The same of float32, after one step: later ones may have drawn another token.
FIRST_STEP: Final = 1e-3

Dtype: TypeAlias = Literal["float64", "float32"]
#: Values of each step, by what they are of: ``loss/eso``, ``grad_norm``, ``reward``; None where a step has none.
Course: TypeAlias = "dict[str, list[float | None]]"

_SETS: Final = re.compile(r"(avx|fma|amx|asimd|sve|i8mm|bf16)\w*|sme\d*")


@dataclasses.dataclass(frozen=True)
class Parting:
    """Where two courses part first."""

    method: str
    dtype: str
    step: int
    value: str
    first: float | None
    second: float | None

    def __str__(self) -> str:
        return f"{self.method} ({self.dtype}): step {self.step}, {self.value}: {self.first!r} against {self.second!r}"


def family() -> str:
    """Return the vendor of this processor and what it can multiply with, as ``.ci/run`` prints it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        import platform

        return f"{platform.machine()} {platform.processor()}".strip()
    pairs = (line.partition(":") for line in reversed(text.splitlines()))  # of several cores the first counts
    said = {name.strip(): value.strip() for name, _, value in pairs}
    vendor = said.get("vendor_id") or said.get("CPU implementer") or "unknown"
    listed = (said.get("flags") or said.get("Features") or "").split()
    return " ".join([vendor, *sorted({each for each in listed if _SETS.fullmatch(each)})])


def path_of(name: str) -> Path:
    """Return the file of a family's values."""
    vendor = re.sub(r"\W+", "-", name.partition(" ")[0].lower())
    return VALUES / f"{vendor}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.json"


def methods(root: Path = ROOT) -> tuple[Any, tuple[str, ...]]:
    """Return a registry of all plugins of a checkout's two distributions, and the names of the methods in it."""
    from harness.plugins.loader import load_registry

    points = []
    for folder in (root, root / "plugins" / "harness-methods"):
        listed = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
        points += [
            EntryPoint(name, value, "harness")
            for name, value in listed["harness"].items()
            if ".metrics." not in value and ".datasets." not in value and ".rewards." not in value
        ]
    registry = load_registry(entry_points=points, environment={})
    return registry, tuple(sorted(row.name for row in registry.plugins if row.kind == "method"))


def course(registry: Any, name: str, dtype: Dtype, steps: int = STEPS) -> Course:
    """Return the first ``steps`` of a method's twenty, with its default options.

    float64 without dropout, whose masks may be others on other machines, and float32 with it.
    """
    import torch

    from harness.execution.tiny import probe_reward, tiny_plan, tiny_rows
    from harness.spec.schedule import Curve, Position
    from harness.training.assignment import Judges, RunContext
    from harness.training.loop import Segment
    from harness.training.rewards import CombinedReward, Part
    from harness.training.seeds import own_generators
    from harness.training.stop import Stopped

    torch.set_num_threads(1)
    options = OPTIONS.get(name, {})
    method = registry.build("method", name, options)
    needs = registry.resolved("method", name, options).needs
    usual = tiny_plan(steps=STEPS, dropout=0.1 if dtype == "float32" else 0.0)
    # with the usual epsilon, rounding of a gradient that is 0 would become a step
    recipe = usual.recipe.model_copy(update={"epsilon": 1e-3, "max_grad_norm": 1.0, "diagnose_every": 5})
    curve = Curve(
        kind="cosine", peak=0.01, floor=0.001, warmup_steps=3, first=Position(steps=0), last=Position(steps=STEPS)
    )
    policy = _policy(dtype, usual.recipe.dropout)
    log: list[dict[str, Any]] = []
    segment = Segment(
        dataclasses.replace(usual, recipe=recipe, curve=curve, method=name),
        policy,
        tiny_rows(policy, labelled="labels" in needs),
        method,
        context=RunContext(log=lambda row: log.append(row.to_json()), stop=lambda: 15 if len(log) >= steps else 0),
        judges=Judges(reward=CombinedReward([Part("probe", probe_reward)]), load_reference=lambda: _policy(dtype, 0.0)),
    )
    with own_generators(policy.device):
        segment.begin()
        try:
            segment.run()
        except Stopped:
            assert len(log) == steps
    return _of_log(log)


_bases: dict[str, Any] = {}


def _policy(dtype: Dtype, dropout: float) -> Any:
    """Return the tiny policy in a type; copies take the way that was found for the first."""
    import copy

    from harness.execution.tiny import tiny_policy
    from harness.lm import way
    from harness.lm.model.policy import Policy

    if dtype not in _bases:
        made = tiny_policy()
        _bases[dtype] = Policy(made.model, made.tokeniser, dtype=dtype)
    base = _bases[dtype]
    policy = Policy(copy.deepcopy(base.model), base.tokeniser, dtype=dtype, dropout=dropout)
    way._ways[policy.model] = way._ways.setdefault(base.model, {})
    return policy


def _of_log(log: Sequence[Mapping[str, Any]]) -> Course:
    rows = []
    for row in log:
        reward = row.get("reward") or {}
        rows.append(
            {
                **{f"loss/{name}": value for name, value in row["loss"].items()},
                "grad_norm": row["grad_norm"],
                **({"reward": reward["mean"]} if reward.get("mean") is not None else {}),
            }
        )
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def partings(
    name: str, dtype: str, first: Course, second: Course, *, tolerance: float = 0.0, steps: int = STEPS
) -> Iterator[Parting]:
    """Yield where two courses of a method part first, if they do within so many steps."""
    values = dict.fromkeys([*first, *second])
    for step in range(steps):
        apart = False
        for value in values:
            one, other = (each.get(value, [None] * STEPS)[step] for each in (first, second))
            if not _same(one, other, tolerance):
                apart = True
                yield Parting(name, dtype, step, value, one, other)
        if apart:
            return


def _same(one: float | None, other: float | None, tolerance: float) -> bool:
    if one is None or other is None or not tolerance:
        return one == other
    return math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)


def everything(root: Path = ROOT, only: Sequence[str] = ()) -> dict[str, dict[str, Course]]:
    """Return the courses of all methods, or of some, by type and name."""
    registry, names = methods(root)
    chosen = [name for name in names if not only or name in only]
    return {dtype: {name: course(registry, name, dtype) for name in chosen} for dtype in get_args(Dtype)}


def stored(name: str) -> dict[str, Any] | None:
    """Return what is committed for a family; None where nothing is."""
    path = path_of(name)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def any_family() -> dict[str, Any]:
    """Return the values of some family: the first by its file's name."""
    found: dict[str, Any] = json.loads(min(VALUES.glob("*.json")).read_text(encoding="utf-8"))
    return found


def text(values: Mapping[str, Any]) -> str:
    """Return the content of a file: a list of numbers a line."""
    whole = json.dumps(values, indent=1)
    return re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda found: "[" + " ".join(found[1].split()) + "]", whole) + "\n"


def wrong(
    name: str, dtype: Dtype, found: Course, committed: Mapping[str, Any], *, steps: int = STEPS, exact: bool = True
) -> list[Parting]:
    """Return where a method's course parts from what is committed, by as much as it may not.

    float64 may be off by rounding on any processor. float32 is equal to the bit on a processor of the same family with
    the same release of torch, where that is asked for with ``exact``; elsewhere its first step is within a tolerance,
    and later ones may be anything.
    """
    there: Course | None = committed[dtype].get(name)
    if there is None:
        return [Parting(name, dtype, 0, "the method has no values yet", None, None)]
    if dtype == "float64":
        return list(partings(name, dtype, there, found, tolerance=TOLERANCE, steps=steps))
    if exact and is_known(committed):
        return list(partings(name, dtype, there, found, steps=steps))
    return list(partings(name, dtype, there, found, tolerance=FIRST_STEP, steps=1))


def is_known(committed: Mapping[str, Any]) -> bool:
    """Return whether values were made on a processor of this family with this release of torch."""
    return bool(committed["family"] == family() and committed["torch"] == release())


def release() -> str:
    """Return torch's, without what it was built for."""
    import torch

    return torch.__version__.partition("+")[0]


def committed_for_this() -> dict[str, Any]:
    """Return the values of this family, or of another one where it has none."""
    own = stored(family())
    return any_family() if own is None else own


def how_to_add(committed: Mapping[str, Any]) -> str:
    """Say that this family has no values, and how it gets some."""
    other = f"{committed['family']} with torch {committed['torch']}"
    return (
        f"no values for {family()} with torch {release()}: float64 was held to those of {other}, within {TOLERANCE:g}; "
        "python tests/golden/twenty.py --write adds values, to be committed"
    )


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Say where each method parts from what was there, and which methods came or went."""
    said = []
    for dtype in get_args(Dtype):
        before, now = old[dtype], new[dtype]
        said += [f"{name} ({dtype}): new" for name in now if name not in before]
        said += [f"{name} ({dtype}): gone" for name in before if name not in now]
        for name in now:
            if name in before:
                said += [str(each) for each in partings(name, dtype, before[name], now[name])]
    return said


def _write(root: Path, only: Sequence[str]) -> int:
    """Write the values of this family, a method after the other, and say where each parts from what was there."""
    registry, names = methods(root)
    name = family()
    old = stored(name) or {dtype: {} for dtype in get_args(Dtype)}
    kept: dict[str, Any] = {dtype: {k: v for k, v in old[dtype].items() if k in names} for dtype in get_args(Dtype)}
    VALUES.mkdir(exist_ok=True)
    for each in [method for method in names if not only or method in only]:
        for dtype in get_args(Dtype):
            found = course(registry, each, dtype)
            before = old[dtype].get(each)
            said = [f"{each} ({dtype}): new"] if before is None else map(str, partings(each, dtype, before, found))
            for line in said:
                print(line, flush=True)
            kept[dtype][each] = found
        whole = {dtype: dict(sorted(of_type.items())) for dtype, of_type in kept.items()}
        path_of(name).write_text(text({"family": name, "torch": release(), **whole}), encoding="utf-8")
    return 0


def main() -> int:
    """Compare, or write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the values of this processor's family")
    parser.add_argument("--json", action="store_true", help="print the values")
    parser.add_argument(
        "--root", type=Path, default=ROOT, help="the checkout whose code is run (it must be importable)"
    )
    parser.add_argument("--only", action="append", default=[], metavar="METHOD", help="this method; may be repeated")
    asked = parser.parse_args()
    if asked.write:
        return _write(asked.root, asked.only)
    values = everything(asked.root, asked.only)
    if asked.json:
        print(json.dumps(values))
        return 0
    committed = committed_for_this()
    apart = [
        str(each)
        for dtype in get_args(Dtype)
        for name, found in values[dtype].items()
        for each in wrong(name, dtype, found, committed)
    ]
    print("\n".join(apart) or f"{len(values['float64'])} methods train as they did")
    if not is_known(committed):
        print(how_to_add(committed))
    return 1 if apart else 0


if __name__ == "__main__":
    sys.exit(main())
