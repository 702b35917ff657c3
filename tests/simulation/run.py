"""Simulate the comparison of rows where the truth is known, and write what was found beside what is promised.

``python tests/simulation/run.py [--only PART …] [--quick] [--write]``: false claims, simultaneous coverage, power at
the detectable difference, and whether a call and its interval ever contradict. Exits with 1 where a promise is not
kept. ``--write`` puts the figures into ``docs/statistics.md`` and beside this file.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import functools
import json
import multiprocessing
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np
from simulation.procedure import judged, replaced
from simulation.worlds import SEEDS, Kind, Pattern, World, normal_worlds, other_worlds

from harness.report.differences import compare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FIGURES = Path(__file__).with_name("figures.json")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "statistics.md"
BEGIN, END = "<!-- figures: tests/simulation/run.py writes them -->", "<!-- end of figures -->"
#: Numbers that are worked on together: a few tens of megabytes.
_TOGETHER = 2_000_000


class Counts(NamedTuple):
    """How many repetitions, and the work of each stage."""

    screen: int = 2000
    confirm: int = 20_000
    power: int = 5000
    old: int = 600
    random: int = 1500


class Figure(NamedTuple):
    """One line of the table."""

    what: str
    found: str
    promised: str
    kept: bool
    where: str = ""


def batches(world: World, count: int, key: Sequence[int]) -> Any:
    """Give the tables of a world, a few at a time, the same ones for the same key."""
    generator = np.random.default_rng([20261130, *key])
    size = max(1, _TOGETHER // (world.rows * world.seeds * world.prompts))
    for start in range(0, count, size):
        yield world.draw(generator, min(size, count - start))


def false_claims(job: tuple[World, int, bool, tuple[int, ...]]) -> float:
    """Return in which share of tables without a true difference anything was claimed."""
    world, count, every, key = job
    wrong = 0
    for tables in batches(world, count, key):
        found = judged(tables, world, every=every)
        wrong += int((np.abs(found.estimate) > found.margin).any(1).sum())
    return wrong / count


def coverage(job: tuple[World, int, tuple[int, ...]]) -> float:
    """Return in which share of tables of 0/1 scores, whose rows do differ, every interval holds its true difference."""
    world, count, key = job
    generator = np.random.default_rng([20261201, *key])
    true = np.linspace(-0.15, 0.15, world.rows)
    held = 0
    size = max(1, _TOGETHER // (world.rows * world.seeds * world.prompts))
    for start in range(0, count, size):
        part = min(size, count - start)
        shape = (part, world.rows, world.seeds, world.prompts)
        chance = generator.uniform(0.3, 0.7, (part, 1, 1, world.prompts)) + true[:, None, None]
        chance = chance + world.seed * generator.standard_normal((*shape[:3], 1))
        found = judged((generator.random(shape) < chance).astype(np.float64), world)
        held += int((np.abs(found.estimate - (true[0] - true[1:])) <= found.margin).all(1).sum())
    return held / count


def power(job: tuple[World, int, tuple[int, ...]]) -> list[float]:
    """Return, for each pair, how often a repetition finds what the first run said could be found."""
    world, count, key = job
    hits = np.zeros(world.rows - 1)
    pairs = zip(batches(world, count, (*key, 1)), batches(world, count, (*key, 2)), strict=True)
    for first, second in pairs:
        said, found = judged(first, world), judged(second, world)
        hits += (np.abs(found.estimate + said.detectable) > found.margin).sum(0)
    return list(hits / count)


def against_the_old(job: tuple[World, int, tuple[int, ...]]) -> tuple[float, float]:
    """Return the power of this procedure and of the one before, with all rivals better by what this finds at 80 %."""
    world, count, key = job
    tables = np.concatenate(list(batches(world, count, key)))
    found = judged(tables, world)
    low, high = 0.0, float(found.margin.max() * 3)
    for _ in range(40):
        shift = (low + high) / 2
        share = float((np.abs(found.estimate - shift) > found.margin).mean())
        low, high = (shift, high) if share < 0.8 else (low, shift)
    reached = float((np.abs(found.estimate - high) > found.margin).mean())
    return reached, float(replaced(tables, high).mean())


def contradictions(count: int) -> int:
    """Return how often a call and its interval contradict, in random tables of every kind, by the report itself."""
    generator, wrong = np.random.default_rng(20261202), 0
    kinds = get_args(Kind)
    for index in range(count):
        rows, seeds = int(generator.integers(2, 7)), int(generator.integers(1, 7))
        seed, prompt, noise = generator.uniform(0, 0.05, 3).tolist()
        prompts, kind = int(generator.integers(20, 60)), kinds[index % len(kinds)]
        world = World(rows, seeds, prompts, seed, prompt, noise, "equal", kind)
        table = world.draw(generator, 1)[0]
        if world.kind != "0/1":
            table += generator.uniform(0, 0.2, (rows, 1, 1)) * generator.integers(0, 2)
        table[generator.random(table.shape) < 0.02 * generator.integers(0, 2)] = np.nan
        named = {f"r{row}": table[row] for row in range(rows)}
        for baseline in (None, "r0"):
            compared = compare(named, baseline=baseline, groups=world.groups, bounds=(-1.0, 1.0))
            for (first, second), pair in compared.pairs.items():
                outside = pair.known and (pair.low > 0 or pair.high < 0)
                apart = not set(compared.letters.get(first, "")) & set(compared.letters.get(second, ""))
                lettered = first in compared.letters and second in compared.letters
                wrong += pair.claimed != (outside and pair.claims)
                wrong += pair.claimed and pair.p > 0.05
                wrong += lettered and apart != pair.claimed
                wrong += pair.known and not pair.low <= pair.estimate <= pair.high
    return int(wrong)


def error(share: float, count: int) -> float:
    """Return the Monte-Carlo standard error of a share."""
    return float(np.sqrt(max(share * (1 - share), 1e-9) / count))


def measured(counts: Counts, mapped: Callable[..., list[Any]], only: Sequence[str]) -> list[Figure]:
    """Return every figure of these parts."""
    return [figure for name in PARTS if name in only for figure in PARTS[name](counts, mapped)]


def _false_claims(counts: Counts, mapped: Callable[..., list[Any]]) -> list[Figure]:
    found = []
    for every in (False, True):
        for seeds in SEEDS:
            worlds = normal_worlds(seeds)
            if every:  # three times the work, so every third
                worlds = [world for world in worlds if world.rows > 2][::3]
            name = f"normal, {'all pairs' if every else 'against the baseline'}, {seeds} seeds"
            found.append(_worst(name, worlds, counts, mapped, every=every))
    others = [(kind, seeds) for kind in get_args(Kind)[1:] for seeds in SEEDS]
    found += [_worst(f"{kind}, {seeds} seeds", other_worlds(kind, seeds), counts, mapped) for kind, seeds in others]
    return found


def _worst(
    name: str, worlds: Sequence[World], counts: Counts, mapped: Callable[..., list[Any]], *, every: bool = False
) -> Figure:
    """Screen all worlds and repeat the worst, with other draws: the largest of many shares is too large by chance."""
    shares = mapped(false_claims, [(world, counts.screen, every, (index,)) for index, world in enumerate(worlds)])
    worst = worlds[int(np.argmax(shares))]
    parts = 4
    again = mapped(false_claims, [(worst, counts.confirm // parts, every, (999, part)) for part in range(parts)])
    share = float(np.mean(again))
    text = f"{100 * share:.1f} ± {100 * error(share, counts.confirm):.1f} %"
    return Figure(
        f"False claims, family-wise: {name}, worst of {len(worlds)}", text, "≤ 6 %", bool(share <= 0.06), worst.text
    )


def _coverage(counts: Counts, mapped: Callable[..., list[Any]]) -> list[Figure]:
    worlds = [World(rows, seeds, 100, 0.01, 0.0, 0.0, "equal", "0/1") for rows in (2, 6) for seeds in SEEDS]
    shares = mapped(coverage, [(world, counts.confirm // 4, (index,)) for index, world in enumerate(worlds)])
    low, high = min(shares), max(shares)
    text = f"{100 * low:.1f} to {100 * high:.1f} % (± {100 * error(low, counts.confirm // 4):.1f})"
    name = "Simultaneous coverage of 0/1 scores whose rows do differ (elsewhere 100 % minus the false claims)"
    return [Figure(name, text, "≥ 94 %", bool(low >= 0.94))]


def _power(counts: Counts, mapped: Callable[..., list[Any]]) -> list[Figure]:
    spreads = ((0.003, 0.05, 0.06), (0.01, 0.05, 0.03), (0.03, 0.01, 0.03))
    unequal: tuple[Pattern, ...] = ("baseline ×4", "one rival ×4", "half ×4")
    found = []
    for patterns, name, promised, least, most in (
        (("equal",), "", "80 to 85 %", 0.79, 0.86),
        (unequal, ", rows whose seeds vary 4 times as much as others'", "70 to 95 %", 0.7, 0.95),
    ):
        for seeds in SEEDS:
            sizes = (2, 6) if patterns == ("equal",) else (6,)
            worlds = [World(rows, seeds, 80, *s, pattern) for rows in sizes for s in spreads for pattern in patterns]
            shares = mapped(power, [(world, counts.power, (index,)) for index, world in enumerate(worlds)])
            if patterns == ("equal",):  # these pairs are alike, and the extremes of many shares are so by chance
                shares = [[float(np.mean(share))] for share in shares]
            low, high = min(map(min, shares)), max(map(max, shares))
            text = f"{100 * low:.0f} to {100 * high:.0f} % (± {100 * error(low, counts.power):.1f})"
            what = f"Power a pair at the stated detectable difference{name}, {seeds} seeds"
            found.append(Figure(what, text, promised, bool(low >= least and high <= most)))
    return found


def _old(counts: Counts, mapped: Callable[..., list[Any]]) -> list[Figure]:
    spreads = ((0.003, 0.05, 0.06), (0.01, 0.05, 0.03), (0.03, 0.01, 0.03))
    worlds = [World(6, 3, 80, *spread) for spread in spreads]
    shares = mapped(against_the_old, [(world, counts.old, (index,)) for index, world in enumerate(worlds)])
    new, old = (float(np.median(part)) for part in zip(*shares, strict=True))
    what = "Power a pair at 3 seeds and 6 rows, and of the rule before, where this one has 80 % (median setting)"
    return [Figure(what, f"{100 * new:.0f} % and {100 * old:.0f} %", "three times as much", new >= 3 * old)]


def _contradicted(counts: Counts, _mapped: Callable[..., list[Any]]) -> list[Figure]:
    wrong = contradictions(counts.random)
    what = f"Calls that contradict their interval, in {counts.random} random tables of every kind"
    return [Figure(what, str(wrong), "0", wrong == 0)]


PARTS: Mapping[str, Callable[[Counts, Callable[..., list[Any]]], list[Figure]]] = {
    "false-claims": _false_claims,
    "coverage": _coverage,
    "power": _power,
    "rule-before": _old,
    "contradictions": _contradicted,
}


def merged(figures: Sequence[Figure]) -> list[Figure]:
    """Return the figures that were kept, with these in the place of those of the same name."""
    kept = [Figure(**found) for found in json.loads(FIGURES.read_text(encoding="utf-8"))] if FIGURES.exists() else []
    new = {figure.what: figure for figure in figures}
    return [new.pop(figure.what, figure) for figure in kept] + list(new.values())


def rendered(figures: Sequence[Figure]) -> str:
    """Return the figures as a table of Markdown."""
    lines = ["| what | found | promised | worst setting |", "|---|---|---|---|"]
    lines += [
        f"| {f.what} | {f.found} | {f.promised}{'' if f.kept else ' **not kept**'} | {f.where} |" for f in figures
    ]
    return "\n".join(lines)


def with_figures(page: str, figures: Sequence[Figure]) -> str:
    """Return the page with the table in its place."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n\n{rendered(figures)}\n\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, print and, if asked to, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a twentieth of the repetitions: whether it runs at all")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/statistics.md")
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS), help="parts; all unless given")
    parser.add_argument("--processes", type=int, default=2, help="how many at a time (default 2)")
    asked = parser.parse_args(arguments)
    counts = Counts(*(max(1, count // 20) for count in Counts())) if asked.quick else Counts()
    with multiprocessing.get_context("spawn").Pool(asked.processes) as pool:
        figures = measured(counts, functools.partial(pool.map, chunksize=1), asked.only)
    sys.stdout.write(rendered(figures) + "\n")
    if asked.write:
        whole = merged(figures) if set(asked.only) < set(PARTS) else figures
        listed = [figure._asdict() for figure in whole]
        FIGURES.write_text(json.dumps(listed, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        PAGE.write_text(with_figures(PAGE.read_text(encoding="utf-8"), whole), encoding="utf-8")
    return 0 if all(figure.kept for figure in figures) or asked.quick else 1


if __name__ == "__main__":
    sys.exit(main())
