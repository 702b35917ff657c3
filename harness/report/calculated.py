"""What was calculated for the tables of a run, kept beside them: making them again reads it instead.

Every entry is named by the digest of all that it was made from: the values themselves, which are read from the store
and checked as ever, the source of the calculation, and the machine and libraries that can change the last bits of a
number. So an entry cannot be out of date; and a file that is not what was written counts as absent.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import scipy

from harness.report import components, detectable, differences, statistics
from harness.report.differences import Compared, Difference
from harness.report.statistics import Interval
from harness.store.environment import fingerprint
from harness.store.files import dump, is_whole, parse, seal
from harness.store.identity import canonical, file_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from harness.report.statistics import Array

NAME: Final = "calculated.json"


class Calculated:
    """Intervals and comparisons, calculated once."""

    def __init__(self, folder: Path | None = None) -> None:
        """Read what an earlier report left in the folder of a run; without a folder nothing is known, nor kept."""
        self._path = folder / NAME if folder else None
        self._kept = _read(self._path) if self._path else {}
        self._used: dict[str, Any] = {}
        modules = (statistics, components, detectable, differences)
        source = [file_digest(Path(str(module.__file__))) for module in modules] + [file_digest(Path(__file__))]
        self._made_by = [*source, scipy.__version__, fingerprint(threads=1, device="cpu", ranks=1)]

    def own(
        self, values: Array, *, groups: Sequence[str] | None = None, bounds: tuple[float, float] | None = None
    ) -> Interval | None:
        """Return the interval of :func:`differences.own_interval`."""
        what = ["own", groups, _ends_of(bounds)]
        return _interval(self._get(what, [values], lambda: _own(values, groups, bounds)))

    def seeds_interval(self, values: Array) -> Interval | None:
        """Return :func:`statistics.seeds_interval`."""
        return _interval(self._get(["seeds"], [values], lambda: _ends(statistics.seeds_interval(values))))

    def compare(
        self,
        rows: Mapping[str, Array],
        *,
        baseline: str | None,
        better: int = 1,
        groups: Sequence[str] | None = None,
        bounds: tuple[float, float] | None = None,
    ) -> Compared:
        """Return :func:`differences.compare`."""
        what = ["compare", baseline, better, list(rows), groups, _ends_of(bounds)]

        def calculate() -> dict[str, Any]:
            found = differences.compare(rows, baseline=baseline, groups=groups, better=better, bounds=bounds)
            return _parts(found)

        return _compared(self._get(what, rows.values(), calculate))

    def text(self) -> str | None:
        """Return what this report used, and nothing else, for the next one; None where that is kept already."""
        return dump(seal({"calculated": self._used})) if self._path and self._used != self._kept else None

    def _get(self, what: list[Any], arrays: Iterable[Array], calculate: Callable[[], Any]) -> Any:
        name = self._name(what, arrays)
        if name not in self._used:
            self._used[name] = self._kept[name] if name in self._kept else calculate()
        return self._used[name]

    def _name(self, what: list[Any], arrays: Iterable[Array]) -> str:
        arrays = list(arrays)
        shapes = [[str(values.dtype), list(values.shape)] for values in arrays]
        state = hashlib.sha256(canonical([self._made_by, what, shapes]))
        for values in arrays:
            state.update(values.tobytes())
        return state.hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        content = parse(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return dict(content.get("calculated", {})) if is_whole(content) else {}


def _ends(interval: Interval | None) -> list[float | None] | None:
    """Return an interval as JSON has it: NaN, an end that is not known, is null there."""
    if interval is None:
        return None
    return [None if math.isnan(end) else end for end in (interval.mean, interval.low, interval.high)]


def _interval(ends: list[float | None] | None) -> Interval | None:
    return None if ends is None else Interval(*(math.nan if end is None else end for end in ends))


def _own(values: Array, groups: Sequence[str] | None, bounds: tuple[float, float] | None) -> Any:
    own = differences.own_interval(values, groups=groups, bounds=bounds)
    return None if own is None else _ends(own[0])


def _ends_of(bounds: tuple[float, float] | None) -> list[float | None] | None:
    return None if bounds is None else [None if math.isinf(end) else end for end in bounds]


def _parts(compared: Compared) -> dict[str, Any]:
    """Return a comparison as JSON has it: a number that is not known is null there."""
    pairs = []
    for (first, second), one in compared.pairs.items():
        numbers = {name: _null(value) for name, value in vars(one).items()}
        pairs.append([first, second, {**numbers, "per_seed": list(one.per_seed)}])
    return {"baseline": compared.baseline, "pairs": pairs, "letters": dict(compared.letters)}


def _null(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _compared(parts: Mapping[str, Any]) -> Compared:
    pairs = {}
    for first, second, told in parts["pairs"]:
        numbers: dict[str, Any] = {name: math.nan if value is None else value for name, value in told.items()}
        numbers["per_seed"] = tuple(told["per_seed"])
        pairs[first, second] = Difference(**numbers)
    return Compared(parts["baseline"], pairs, parts["letters"])
