"""Which rows of a column differ, for new seeds *and* new prompts: one adjusted interval a pair.

A difference is claimed exactly where its interval excludes 0, so that a call and an interval cannot contradict. The
interval is made from the crossed variance components of the pair's own difference, in which whatever both rows share
(the prompt, the supervised start of a seed) cancels. Each component has a critical value of its own, and the variance
of seeds, of which there are few, borrows a fixed share from the other pairs of the column. Chosen by simulation:
docs/statistics.md has the figures and the limits.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy

from harness.report.components import GROUPS_FOR_CLAIMS, Spread, complete, grouping, spread, squared_reach, summed
from harness.report.detectable import SHARE, detectable, freedom, level_of, student
from harness.report.statistics import LEVEL, SEEDS_FOR_CLAIMS, Interval, letter_groups

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.report.statistics import Array, Pair

    Groups = Sequence[Any] | np.ndarray[Any, Any] | None

ONE_SEED, TWO_SEEDS, NO_VALUES = "one seed", "two seeds", "nothing in common"
ONE_PROMPT, FEW_GROUPS = "one prompt", "few groups"
IDENTICAL, NO_VARIATION = "identical", "no variation"
#: A margin below this share of the largest value is rounding.
_ROUNDING = 1e-12
#: With 0/1 scores that never vary, the chance of another value is below 3/E (the rule of three).
_OF_THREE, _ENOUGH = 3.0, 80
_LEAST = 1e-30


@dataclass(frozen=True)
class Difference:
    """One difference with its 95 % confidence interval, adjusted for the others of its family."""

    estimate: float
    """Mean over the seeds and prompts that both rows have; NaN where there is none."""
    low: float = math.nan
    high: float = math.nan
    """Ends of the interval, for new seeds and new prompts; NaN where there is none."""
    p: float = math.nan
    """The adjusted p: below 0.05 exactly where the difference is claimed."""
    seeds: int = 0
    prompts: int = 0
    """How many both rows have, complete."""
    per_seed: tuple[float, ...] = ()
    """The difference of each seed that both rows have."""
    note: str = ""
    """Why there is no claim, or what is peculiar; with ``one seed`` the interval is these runs' for new prompts."""
    claims: bool = False
    """Whether a difference may be claimed at all."""
    detectable: float = math.nan
    """The minimum detectable effect, at power 0.8; NaN where nothing may be claimed."""

    @property
    def claimed(self) -> bool:
        """Whether the interval excludes 0, and may be taken as a claim."""
        return self.claims and (self.low > 0 or self.high < 0)

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.low)

    @property
    def interval(self) -> Interval:
        """The estimate with its ends."""
        return Interval(self.estimate, self.low, self.high)

    def __neg__(self) -> Difference:
        """Return the difference the other way round."""
        per_seed = tuple(0.0 - value for value in self.per_seed)  # and no -0.0
        return replace(self, estimate=0.0 - self.estimate, low=0.0 - self.high, high=0.0 - self.low, per_seed=per_seed)


@dataclass(frozen=True)
class Compared:
    """The rows of one column, compared with a baseline or with each other."""

    baseline: str | None = None
    pairs: Mapping[Pair, Difference] = field(default_factory=dict)
    """First minus second: each row and the baseline, or all pairs."""
    letters: Mapping[str, str] = field(default_factory=dict)
    """Rows that share a letter are not told apart; of all pairs alone, and of rows with three seeds."""

    @property
    def claims(self) -> bool:
        """Whether any difference may be claimed."""
        return any(pair.claims for pair in self.pairs.values())

    def of(self, first: str, second: str) -> Difference | None:
        """Return first minus second, whichever way they were compared; None where they were not."""
        pair = self.pairs.get((first, second))
        if pair is None and (other := self.pairs.get((second, first))) is not None:
            return -other
        return pair


class _Part(NamedTuple):
    """What two rows have in common."""

    difference: Array
    """(S, E), complete."""
    layout: Array
    """The same, or one value a seed and group (S, G)."""
    freedom: float
    """Of a mean over prompts or groups."""
    grouped: bool
    scale: float
    """The largest value of either row, without its sign."""
    binary: bool
    """Whether both rows have nothing but 0 and 1."""

    @property
    def seeds(self) -> int:
        return int(self.difference.shape[0])

    @property
    def enough(self) -> bool:
        """Whether its variances are known, and so may be borrowed from."""
        return self.seeds >= SEEDS_FOR_CLAIMS and self.layout.shape[1] >= 2

    @property
    def few_groups(self) -> bool:
        """Whether groups are few, or a few of them hold nearly all prompts: one that is left out changes all."""
        return self.grouped and (self.layout.shape[1] < GROUPS_FOR_CLAIMS or self.freedom < 1)


class _Model(NamedTuple):
    """What a pair's interval depends on beside its own variances."""

    by_seed: float
    """The shrunk variance of seeds' means."""
    freedom: float
    rows: int
    tests: int
    share: float


def compare(
    rows: Mapping[str, Array],
    *,
    baseline: str | None = None,
    groups: Groups = None,
    better: int = 1,
    bounds: tuple[float, float] | None = None,
) -> Compared:
    """Compare the rows of one column, all on the same seeds and prompts.

    The family is each row against the baseline, or all pairs, at Šidák's level: 95 % hold together. Rows with
    values for fewer than three seeds are not part of any claim: with two seeds both seeds' differences are all that is
    known, with one there is an interval for these runs and new prompts.

    Args:
        rows: (S, E) by label; NaN for what is missing, whole seeds included.
        baseline: the row that the others are compared with; None compares all pairs and gives letters.
        groups: a key for each of the E prompts; those with the same one belong together.
        better: 1 where more is better, -1 where less is; orders the letters.
        bounds: the least and the largest value that the column can have; no interval goes beyond what follows.
    """
    if baseline is not None and baseline not in rows:
        return Compared(baseline)
    enough = [label for label, values in rows.items() if _seeds_present(values) >= SEEDS_FOR_CLAIMS]
    parts = {pair: _common(rows[pair[0]], rows[pair[1]], groups) for pair in itertools.combinations(rows, 2)}
    sources = [part for part in parts.values() if part is not None and part.enough]
    pool = float(np.mean([spread(part.layout).by_seed for part in sources])) if sources else math.nan
    fewest = min((part.seeds for part in sources), default=0)
    # as many rows as have that many pairs: with values missing some pairs have too few seeds in common
    pooled_rows = int((1 + math.sqrt(1 + 8 * len(sources))) / 2)
    tests = len(enough) * (len(enough) - 1) // 2 if baseline is None else len(enough) - 1
    ends = None if bounds is None else (bounds[0] - bounds[1], bounds[1] - bounds[0])
    compared = {}
    for (first, second), part in parts.items():
        turned = baseline == first
        if baseline is None or turned or baseline == second:
            judged = _judged(part, max(tests, 1), ends, pool=pool, rows=pooled_rows, fewest=fewest)
            compared[(second, first) if turned else (first, second)] = -judged if turned else judged
    letters = {}
    if baseline is None and len(enough) > 1:
        order = sorted(enough, key=lambda label: -better * float(np.nanmean(rows[label])))
        letters = letter_groups(order, {pair for pair, judged in compared.items() if judged.claimed})
    return Compared(baseline, compared, letters)


def difference(
    values: Array,
    *,
    tests: int = 1,
    groups: Groups = None,
    scale: float | None = None,
    bounds: tuple[float, float] | None = None,
    binary: bool = False,
) -> Difference:
    """Return one difference, or any contrast of rows, with an interval of its own variances alone.

    Args:
        values: (S, E); NaN for what is missing.
        tests: how many are tested together, of which none may be wrong.
        groups: a key for each of the E prompts; those with the same one belong together.
        scale: the largest value of a row, without its sign; what is smaller by twelve digits is rounding.
        bounds: the least and the largest value that the difference itself can have.
        binary: whether it is of two rows that have nothing but 0 and 1.
    """
    part = _complete(values, groups, lambda kept: float(np.abs(kept).max()) if scale is None else scale)
    return _judged(part and part._replace(binary=binary), tests, bounds)


def own_interval(
    values: Array, *, groups: Groups = None, bounds: tuple[float, float] | None = None
) -> tuple[Interval, str] | None:
    """Return a row's own mean with its 95 % confidence interval, and a note; None where nothing is present.

    With three seeds or more it is for new seeds and prompts; with two there is none, and with one it is this run's for
    new prompts. The mean is over all that is present, the interval from the prompts that are complete.
    """
    present = values[~np.isnan(values)]
    if not present.size:
        return None
    from_zero, centre = difference(values, groups=groups), float(present.mean())
    ends = Interval(centre, centre + from_zero.low - from_zero.estimate, centre + from_zero.high - from_zero.estimate)
    if bounds is not None and from_zero.known:
        ends = Interval(centre, *cut(centre, ends.low, ends.high, bounds))
    return ends, from_zero.note


def cut(centre: float, low: float, high: float, bounds: tuple[float, float]) -> tuple[float, float]:
    """Return the ends of an interval within what is possible, and never beyond its centre."""
    return max(low, min(bounds[0], centre)), min(high, max(bounds[1], centre))


def _seeds_present(values: Array) -> int:
    return int((~np.isnan(values)).any(1).sum()) if values.size else 0


def _common(first: Array, second: Array, groups: Groups) -> _Part | None:
    """Return the seeds that two rows share and the prompts that are complete in them."""
    part = _complete(first - second, groups, lambda _: 0.0)
    if part is None:
        return None
    both = np.stack([first, second])[:, ~np.isnan(first - second)]
    return part._replace(scale=float(np.abs(both).max()), binary=bool(np.isin(both, (0.0, 1.0)).all()))


def _complete(values: Array, groups: Groups, scale: Any) -> _Part | None:
    kept, prompts = complete(values)
    if kept is None:
        return None
    layout, degrees = kept, float(kept.shape[1] - 1)
    if groups is not None:
        by_group = grouping(np.asarray(groups)[prompts])
        degrees = by_group.freedom
        layout = summed(kept, by_group) if len(by_group.sizes) > 1 else kept[:, :1]
    return _Part(kept, layout, degrees, groups is not None, scale(kept), False)


def _judged(
    part: _Part | None,
    tests: int,
    ends: tuple[float, float] | None,
    *,
    pool: float = math.nan,
    rows: int = 2,
    fewest: int = 0,
) -> Difference:
    """Return what one pair says; without a pool it borrows nothing."""
    if part is None:
        return Difference(math.nan, note=NO_VALUES)
    seeds, prompts = part.difference.shape
    per_seed = tuple(part.difference.mean(1).tolist())
    said = Difference(float(np.mean(per_seed)), seeds=seeds, prompts=prompts, per_seed=per_seed)
    size = part.layout.shape[1]
    note = _lacking(part)
    if note and not (note == ONE_SEED and size >= 2 and not part.few_groups):
        return replace(said, note=note)
    if note == ONE_SEED:
        error = math.sqrt(float(part.layout[0].var(ddof=1)) / size)
        return _with_ends(replace(said, note=note), student(part.freedom, LEVEL) * error, ends)
    variances = spread(part.layout)
    share = 0.0 if math.isnan(pool) else SHARE
    by_seed = (1 - share) * float(variances.by_seed) + (share * pool if share else 0.0)
    model = _Model(by_seed, freedom(seeds, rows, share, fewest or seeds), rows, tests, share)
    shrunk = variances._replace(by_seed=np.asarray(by_seed))
    margin = _margin(shrunk, part, model, level_of(tests))
    same = not np.abs(part.difference).max() > _ROUNDING * part.scale
    if margin <= _ROUNDING * part.scale:
        return _without_variance(part, said, ends, same=same)
    size_found = detectable(shrunk, seeds, size, rows=rows, tests=tests, share=share, among=part.freedom)
    said = replace(said, claims=True, detectable=size_found, note=IDENTICAL if same else "")
    said = _with_ends(said, margin, ends)
    p = _adjusted(abs(said.estimate), lambda level: _margin(shrunk, part, model, level), tests)
    return replace(said, p=min(p, LEVEL) if said.claimed else max(p, LEVEL))


def _lacking(part: _Part) -> str:
    """Return what there is too little of for a claim."""
    if part.seeds < SEEDS_FOR_CLAIMS:
        return ONE_SEED if part.seeds == 1 else TWO_SEEDS
    if part.few_groups:
        return FEW_GROUPS
    return ONE_PROMPT if part.layout.shape[1] < 2 else ""


def _margin(variances: Spread, part: _Part, model: _Model, level: float) -> float:
    """Return half of an interval at a level, before it is cut to what is possible."""
    by_seed, by_prompt = student(model.freedom, level), student(part.freedom, level)
    return math.sqrt(float(squared_reach(variances, part.seeds, part.layout.shape[1], by_seed, by_prompt)))


def _without_variance(part: _Part, said: Difference, ends: tuple[float, float] | None, *, same: bool) -> Difference:
    """Return what can be said where neither seeds nor prompts vary: nothing, unless scores are 0 and 1."""
    said = replace(said, note=IDENTICAL if same else NO_VARIATION)
    if not part.binary:
        return said
    size = part.layout.shape[1]
    # what is not 0 here is all 0 in one row against all 1 in the other
    return _with_ends(replace(said, claims=not same and size >= _ENOUGH), _OF_THREE / size, ends or (-1.0, 1.0))


def _with_ends(said: Difference, margin: float, ends: tuple[float, float] | None) -> Difference:
    low, high = said.estimate - margin, said.estimate + margin
    if ends is not None:
        low, high = cut(said.estimate, low, high, ends)
    return replace(said, low=low, high=high)


def _adjusted(size: float, margin: Any, tests: int) -> float:
    """Return the adjusted p: that of the level at which the interval ends at 0."""
    if size == 0.0:
        return 1.0
    if margin(_LEAST) <= size:
        return _LEAST * tests
    root = scipy.optimize.brentq(lambda power: margin(10.0**power) - size, math.log10(_LEAST), 0.0, xtol=1e-12)
    return float(-math.expm1(tests * math.log1p(-min(10.0**root, 1 - 1e-16))))
