"""Stored records that are damaged, or whose content is another: named, refused, or without any effect on the tables."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import pytest
from fuzz.campaign import Campaign
from hypothesis import given
from hypothesis import strategies as st
from report.synthetic import Run, in_memory, plain_value

from harness.errors import HarnessError
from harness.report.audit.audit import audit
from harness.report.bundle import make_bundle
from harness.report.calculated import Calculated
from harness.report.columns import ComparedColumns
from harness.report.export import csv_text
from harness.report.kinds import tables_of
from harness.report.results import load_results
from harness.store.bundle import unpacked
from harness.store.files import dump, seal
from harness.store.stages import Store
from harness.store.verify import verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.report.results import Results

RECORDS = Campaign("stored records", few=60, many=5_000)
#: Files whose every number follows from another file of the run.
DERIVED: Final = frozenset({"means.json", "values.jsonl"})
NUMBERS = st.sampled_from([0, 1, -1, 0.5, 1e308, 1e-300, 2**63, True]) | st.floats() | st.integers(-(2**70), 2**70)
TEXTS = st.sampled_from(["", "0", "\ud800", "\u202e", "é", "../x", "sft", "null"]) | st.text(max_size=5)
VALUES = st.recursive(
    st.none() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)


@dataclass(frozen=True)
class Whole:
    """A run whose records are as they were written."""

    root: Path
    folder: Path

    @cached_property
    def files(self) -> dict[str, bytes]:
        """Content of every file of every stage, and of the run's manifest, by its name below the root."""
        found = [*sorted((self.root / "store").rglob("*")), self.folder / "manifest.json"]
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in found if path.is_file()}

    @cached_property
    def tables(self) -> str:
        return tables(self.results())

    @cached_property
    def findings(self) -> set[Any]:
        """What the check of the run finds anyway: some of what it holds was made up."""
        return set(audit(self.root, self.folder).findings)

    def results(self, *, partial: bool = False) -> Results:
        return load_results(self.root, self.folder, partial=partial)

    def restore(self, name: str) -> None:
        (self.root / name).write_bytes(self.files[name])


def tables(results: Results) -> str:
    """Return every number that tables show, and what is said beside one."""
    return csv_text(tables_of(ComparedColumns(results, Calculated())))


def whole_run(root: Path) -> Whole:
    run = Run(
        root,
        seeds=(0, 1),
        examples=4,
        prompts=lambda number: {"fields": {"prompt": f"Question {number}?"}},
        own=lambda place, _draw: plain_value(place) or 0.0,
    )
    return Whole(root, run.write())


@pytest.fixture(scope="module")
def whole() -> Iterator[Whole]:
    with in_memory() as folder:
        whole = whole_run(folder / "results")
        assert whole.tables  # what is compared with is looked at while it is whole
        assert whole.findings
        yield whole


class Bundle:
    """A bundle's bytes, which a failing case does not print: hypothesis refuses so long a text."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw


@pytest.fixture(scope="module")
def bundle(whole: Whole) -> Bundle:
    with in_memory() as folder:
        make_bundle(whole.root, whole.folder, folder / "a.zip")
        return Bundle((folder / "a.zip").read_bytes())


def names(whole: Whole) -> st.SearchStrategy[str]:
    return st.sampled_from(sorted(whole.files))


def said(error: HarnessError) -> str:
    text = str(error)
    assert len(text) < 10_000
    return text


def test_the_run_to_be_damaged_is_whole(whole: Whole) -> None:
    assert verify(Store(whole.root), {}).damages == []
    assert "rougeL" in whole.tables
    assert {name.rpartition("/")[2] for name in whole.files} >= {*DERIVED, "samples.jsonl", "train.jsonl", "rows.jsonl"}
    assert not any("mean over draws" in one.what for one in whole.findings)


@RECORDS.settings(0.45)
@given(
    st.integers(0, 10_000),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 4), st.binary(max_size=4)), max_size=3),
    st.integers(0, 10_000) | st.none(),
)
def test_damage_is_named_and_changes_no_number(whole: Whole, which: int, cuts: list[Any], end: int | None) -> None:
    name = sorted(whole.files)[which % len(whole.files)]
    raw = bytearray(whole.files[name])
    for start, length, instead in cuts:
        place = start % (len(raw) + 1)
        raw[place : place + length] = instead
    damaged = bytes(raw if end is None else raw[: end % (len(raw) + 1)])
    with RECORDS.case() as outcome:
        (whole.root / name).write_bytes(damaged)
        try:
            outcome(found_damage(whole, name, changed=damaged != whole.files[name]))
        finally:
            whole.restore(name)


def found_damage(whole: Whole, name: str, *, changed: bool) -> str:
    in_store = name.startswith("store/")
    known = {f"store/{d.kind}/{d.id}/{d.file}" for d in verify(Store(whole.root), {}).damages}
    if in_store and not name.endswith("/manifest.json"):
        assert known == ({name} if changed else set())
    try:
        shown = tables(whole.results())
    except HarnessError as refusal:
        error = refusal
    else:
        # a stage that cannot be told from one that is not there is counted as missing
        assert shown == whole.tables or whole.results().shelf.missing
        return "without effect on the tables" if shown == whole.tables else "counted as missing"
    assert changed
    assert (name.split("/")[2][:12] if in_store else "manifest.json") in said(error)
    if in_store:  # the rest is shown, and what is left out is said
        left = whole.results(partial=True)
        tables(left)
        assert left.shelf.damaged or left.shelf.other_format or left.shelf.missing
    return "refused"


@RECORDS.settings(0.35)
@given(st.data())
def test_other_content_under_a_right_digest_is_refused_or_found(whole: Whole, data: st.DataObject) -> None:
    stages = sorted(name.rpartition("/")[0] for name in whole.files if name.startswith("store/") and "manifest" in name)
    stage = data.draw(st.sampled_from(stages))
    inside = [name for name in whole.files if name.startswith(f"{stage}/") and name.endswith((".json", ".jsonl"))]
    name = data.draw(st.sampled_from(sorted(name for name in inside if not name.endswith("/manifest.json"))))
    content = changed(data, whole.files[name], lines=name.endswith(".jsonl"))
    with RECORDS.case() as outcome, forged(whole, name, content):
        outcome(found_change(whole, name))


@pytest.mark.parametrize(
    ("kind", "file", "content", "outcome"),
    [
        ("prepare", "rows.jsonl", b'{"id": Infinity}\n', "without effect on the tables"),
        ("generate", "environment.json", b"null", "refused"),
        ("generate", "environment.json", b'{"device": "cpu", "libraries": null}', "refused"),
    ],
)
def test_records_that_once_were_a_traceback(whole: Whole, kind: str, file: str, content: bytes, outcome: str) -> None:
    name = next(name for name in sorted(whole.files) if name.startswith(f"store/{kind}/") and name.endswith(file))
    with forged(whole, name, content):
        assert set(audit(whole.root, whole.folder).findings) - whole.findings
        assert found_change(whole, name) == outcome


def test_a_note_with_half_a_surrogate_pair_is_read(whole: Whole) -> None:
    name = next(name for name in sorted(whole.files) if name.startswith("store/generate/") and "environment" in name)
    with forged(whole, name, b'{"device": "cpu", "": {"\\ud800": null}}'):
        assert found_change(whole, name) == "without effect on the tables"


@pytest.mark.parametrize("columns", [{"rougeL": []}, {"rougeL": [0.5]}, {}, {"another": [0.5] * 4}])
def test_means_that_fit_neither_their_prompts_nor_their_summary_are_refused(
    whole: Whole, columns: dict[str, list[float]]
) -> None:
    name = next(name for name in sorted(whole.files) if name.endswith("means.json") and b"rougeL" in whole.files[name])
    content = json.dumps({**json.loads(whole.files[name]), "columns": columns}).encode()
    with forged(whole, name, content):
        assert set(audit(whole.root, whole.folder).findings) - whole.findings
        assert found_change(whole, name) == "refused"


@pytest.mark.parametrize(
    ("file", "key", "outcome"),
    [
        ("means.json", '"rougeL": [', "refused"),
        ("values.jsonl", '"rougeL": ', "without effect on the tables"),
    ],
)
def test_numbers_of_a_size_that_tables_cannot_reckon_with(whole: Whole, file: str, key: str, outcome: str) -> None:
    name = next(n for n in sorted(whole.files) if n.endswith(f"/{file}") and b"rougeL" in whole.files[n])
    content = re.sub(rf"({re.escape(key)}\s*)[-\d.e]+", r"\g<1>1e308", whole.files[name].decode())
    assert content.count("1e308") > 0
    with forged(whole, name, content.encode()):
        assert set(audit(whole.root, whole.folder).findings) - whole.findings
        assert found_change(whole, name) == outcome


def changed(data: st.DataObject, content: bytes, *, lines: bool) -> bytes:
    """Return JSON, or lines of it, with anything in the place of one value."""
    values = [json.loads(line) for line in content.splitlines()] if lines else [json.loads(content)]
    places = [((number,), value) for number, value in enumerate(values)]
    places += [((number, *path), value) for (number,), tree in places for path, value in below(tree)]
    path, _ = data.draw(st.sampled_from(places)) if places else ((0,), None)
    holder: Any = values
    for key in path[:-1]:
        holder = holder[key]
    way = data.draw(st.sampled_from(["set", "delete", "add"]))
    if way == "add" and isinstance(holder, dict):
        holder[data.draw(TEXTS)] = data.draw(VALUES)
    elif way == "add":
        holder.append(data.draw(VALUES))
    elif way == "set" or not lines:
        holder[path[-1]] = data.draw(NUMBERS if isinstance(holder[path[-1]], (int, float)) else VALUES)
    elif values:
        del holder[path[-1]]
    return "".join(f"{json.dumps(value)}\n" for value in values).encode() if lines else json.dumps(values[0]).encode()


def below(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in items:
        yield (*path, key), child
        yield from below(child, (*path, key))


@contextlib.contextmanager
def forged(whole: Whole, name: str, content: bytes) -> Iterator[None]:
    """Put other content under a digest that is right."""
    stage = name.rpartition("/")[0]
    manifest = json.loads(whole.files[f"{stage}/manifest.json"])
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    manifest["files"][name.removeprefix(f"{stage}/")] |= entry
    (whole.root / name).write_bytes(content)
    (whole.root / stage / "manifest.json").write_text(dump(seal(manifest)), encoding="utf-8")
    try:
        yield
    finally:
        whole.restore(name)
        whole.restore(f"{stage}/manifest.json")


def found_change(whole: Whole, name: str) -> str:
    new = set(audit(whole.root, whole.folder).findings) - whole.findings
    try:
        shown = tables(whole.results())
    except HarnessError as error:
        said(error)
        return "refused"
    if shown == whole.tables:
        return "without effect on the tables"
    assert new or name.rpartition("/")[2] not in DERIVED
    return "found by the check" if new else "shown as it is written"


@RECORDS.settings(0.2)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 4), st.binary(max_size=4)), min_size=1, max_size=3))
def test_a_bundle_with_broken_bytes(whole: Whole, bundle: Bundle, cuts: list[Any]) -> None:
    raw = bytearray(bundle.raw)
    for start, length, instead in cuts:
        # the directory of a zip file is at its end
        place = start % (len(raw) + 1) if start % 2 else len(raw) - start % 3000
        raw[max(0, place) : max(0, place) + length] = instead
    with RECORDS.case() as outcome, in_memory() as folder:
        (folder / "a.zip").write_bytes(raw)
        try:
            with unpacked(folder / "a.zip") as root:
                shown = tables(load_results(root, root / "small" / "quick"))
                missing = load_results(root, root / "small" / "quick").shelf.missing
        except HarnessError as error:
            said(error)
            outcome("refused")
            return
        assert shown == whole.tables or missing
        outcome("without effect on the tables" if shown == whole.tables else "counted as missing")
