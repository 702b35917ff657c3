"""What a report calculated is taken over by the next one, as long as nothing that it was made from has changed."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from report.synthetic import plain_value

from harness.report import calculated, differences, statistics
from harness.report.calculated import NAME, Calculated
from harness.report.write import write_tables
from harness.store.files import dump, seal

if TYPE_CHECKING:
    from pathlib import Path

    from report.synthetic import Run

    from harness.report.statistics import Array

LABELS = ("a", "b", "c", "d")


def values(seed: int, seeds: int, examples: int) -> Array:
    """Return values of which a few are missing."""
    generator = np.random.default_rng(seed)
    found = generator.normal(0.1 * seed, 1.0, (seeds, examples))
    found[generator.random((seeds, examples)) < 0.05] = np.nan
    return found


def tables(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("leaderboard.*")}


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("it was calculated again")


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be calculated."""
    monkeypatch.setattr(statistics, "seeds_interval", refuse)
    for name in ("own_interval", "compare"):
        monkeypatch.setattr(differences, name, refuse)


def keep(known: Calculated, folder: Path) -> None:
    """Keep what was calculated as a report does."""
    (folder / NAME).write_text(known.text() or "", encoding="utf-8")


class TestEntries:
    @pytest.mark.parametrize("shape", [(3, 40), (1, 7), (2, 1), (1, 1), (0, 4)])
    def test_intervals(self, shape: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        matrix = values(0, *shape)
        own = differences.own_interval(matrix, bounds=(-0.5, math.inf))
        expected = own and own[0], statistics.seeds_interval(matrix[:, 0])
        first = Calculated(tmp_path)
        assert repr((first.own(matrix, bounds=(-0.5, math.inf)), first.seeds_interval(matrix[:, 0]))) == repr(expected)
        keep(first, tmp_path)
        monkeypatch.setattr(differences, "own_interval", refuse)
        monkeypatch.setattr(statistics, "seeds_interval", refuse)
        second = Calculated(tmp_path)
        found = second.own(matrix, bounds=(-0.5, math.inf)), second.seeds_interval(matrix[:, 0])
        assert repr(found) == repr(expected)

    @pytest.mark.parametrize("seeds", [1, 2, 3])
    @pytest.mark.parametrize("baseline", [None, "b"])
    def test_comparisons(
        self, seeds: int, baseline: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows = {label: values(seed, seeds, 40) for seed, label in enumerate(LABELS)}
        groups = [str(index % 11) for index in range(40)]
        expected = differences.compare(rows, baseline=baseline, better=-1, groups=groups, bounds=(-4.0, 4.0))
        asked: dict[str, Any] = {"baseline": baseline, "better": -1, "groups": groups, "bounds": (-4.0, 4.0)}
        first = Calculated(tmp_path)
        assert repr(first.compare(rows, **asked)) == repr(expected)
        keep(first, tmp_path)
        monkeypatch.setattr(differences, "compare", refuse)
        found = Calculated(tmp_path).compare(rows, **asked)
        assert repr(found) == repr(expected)
        assert list(found.letters) == list(expected.letters)

    def test_other_values_labels_orders_or_senses_have_other_names(self, tmp_path: Path) -> None:
        one, two = values(0, 3, 8), values(1, 3, 8)
        known = Calculated(tmp_path)
        known.own(one)
        known.own(two)
        known.own(one, bounds=(0.0, 1.0))
        known.own(one, groups=["x"] * 8)
        known.own(one.reshape(8, 3))
        known.seeds_interval(one)
        known.compare({"a": one, "b": two}, baseline=None, better=1)
        known.compare({"a": one, "b": two}, baseline="a", better=1)
        known.compare({"a": one, "b": two}, baseline=None, better=-1)
        known.compare({"b": one, "a": two}, baseline=None, better=1)
        known.compare({"a": two, "b": one}, baseline=None, better=1)
        keep(known, tmp_path)
        assert len(json.loads((tmp_path / NAME).read_text(encoding="utf-8"))["calculated"]) == 11

    def test_another_machine_or_library_calculates(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        matrix = values(0, 3, 8)
        first = Calculated(tmp_path)
        first.own(matrix)
        keep(first, tmp_path)
        monkeypatch.setattr(calculated, "fingerprint", lambda **_: {"processor": "another"})
        monkeypatch.setattr(differences, "own_interval", lambda *_, **__: (statistics.Interval(1.0, 2.0, 3.0), ""))
        assert Calculated(tmp_path).own(matrix) == statistics.Interval(1.0, 2.0, 3.0)


def test_a_second_report_calculates_nothing(run: Run, request: pytest.FixtureRequest) -> None:
    folder = run.write()
    write_tables(run.root, folder)
    before = tables(folder)
    request.getfixturevalue("idle")
    write_tables(run.root, folder)
    assert tables(folder) == before


def test_other_values_are_calculated_and_what_is_not_used_is_dropped(run: Run) -> None:
    folder = run.write()
    write_tables(run.root, folder)
    kept = set(json.loads((folder / NAME).read_text(encoding="utf-8"))["calculated"])

    (run.root / "store" / "score").rename(run.root / "earlier")
    run.value = lambda place: 0.9 if (place.row, place.seed, place.example) == ("eso", 1, 4) else plain_value(place)
    write_tables(run.root, run.write())
    after = set(json.loads((folder / NAME).read_text(encoding="utf-8"))["calculated"])
    assert len(after) == len(kept)
    assert after & kept
    assert after - kept
    fresh = tables(folder)
    (folder / NAME).unlink()
    write_tables(run.root, folder)
    assert tables(folder) == fresh


@pytest.mark.parametrize("text", ["", "{", "[]", '{"calculated": {}}', "\xff"])
def test_a_damaged_file_counts_as_absent(text: str, run: Run) -> None:
    folder = run.write()
    write_tables(run.root, folder)
    before, whole = tables(folder), (folder / NAME).read_bytes()
    (folder / NAME).write_text(text, encoding="latin-1")
    write_tables(run.root, folder)
    assert tables(folder) == before
    assert (folder / NAME).read_bytes() == whole


def test_a_number_that_was_changed_in_the_file_is_never_shown(run: Run) -> None:
    folder = run.write()
    write_tables(run.root, folder)
    before = tables(folder)
    content = json.loads((folder / NAME).read_text(encoding="utf-8"))
    digest = content["sha256"]
    entries = content["calculated"].items()
    changed = {name: [9.0, 8.0, 9.5] if isinstance(entry, list) else entry for name, entry in entries}
    (folder / NAME).write_text(dump({"calculated": changed, "sha256": digest}), encoding="utf-8")
    write_tables(run.root, folder)
    assert tables(folder) == before
    (folder / NAME).write_text(dump(seal({"calculated": changed})), encoding="utf-8")  # sealed anew: it would be read
    write_tables(run.root, folder)
    assert tables(folder) != before
