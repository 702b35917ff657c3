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

from harness.report import statistics
from harness.report.statistics import Comparison, Interval
from harness.store.environment import fingerprint
from harness.store.files import dump, is_whole, parse, seal
from harness.store.identity import canonical, file_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from harness.report.statistics import Array

NAME: Final = "calculated.json"


class Calculated:
    """Intervals and comparisons, calculated once."""

    def __init__(self, folder: Path | None = None) -> None:
        """Read what an earlier report left in the folder of a run; without a folder nothing is known, nor kept."""
        self._path = folder / NAME if folder else None
        self._kept = _read(self._path) if self._path else {}
        self._used: dict[str, Any] = {}
        source = [file_digest(Path(module)) for module in (statistics.__file__, __file__)]
        self._made_by = [*source, scipy.__version__, fingerprint(threads=1, device="cpu", ranks=1)]

    def interval(self, values: Array) -> Interval | None:
        """Return :func:`statistics.interval`."""
        return _interval(self._get(["interval"], [values], lambda: _ends(statistics.interval(values))))

    def seeds_interval(self, values: Array) -> Interval | None:
        """Return :func:`statistics.seeds_interval`."""
        return _interval(self._get(["seeds"], [values], lambda: _ends(statistics.seeds_interval(values))))

    def compare(self, rows: Mapping[str, Array], *, better: int) -> Comparison:
        """Return :func:`statistics.compare`."""
        what = ["compare", better, list(rows)]
        return _comparison(self._get(what, rows.values(), lambda: _parts(statistics.compare(rows, better=better))))

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
        found = parse(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return dict(found.get("calculated", {})) if is_whole(found) else {}


def _ends(found: Interval | None) -> list[float | None] | None:
    """Return an interval as JSON has it: NaN, an end that is not known, is null there."""
    if found is None:
        return None
    return [None if math.isnan(end) else end for end in (found.mean, found.low, found.high)]


def _interval(ends: list[float | None] | None) -> Interval | None:
    return None if ends is None else Interval(*(math.nan if end is None else end for end in ends))


def _parts(found: Comparison) -> dict[str, Any]:
    """Return a comparison as JSON has it: a size that no difference can have is text there."""
    return {
        "claims": found.claims,
        "pairs": [[*pair, p, found.differs[pair]] for pair, p in found.p_values.items()],
        "letters": dict(found.letters),
        "detectable": "inf" if found.detectable == math.inf else found.detectable,
    }


def _comparison(parts: Mapping[str, Any]) -> Comparison:
    size = parts["detectable"]
    return Comparison(
        claims=parts["claims"],
        differs={(first, second): differs for first, second, _, differs in parts["pairs"]},
        p_values={(first, second): p for first, second, p, _ in parts["pairs"]},
        letters=parts["letters"],
        detectable=None if size is None else float(size),
    )
