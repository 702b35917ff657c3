"""The check of a data set."""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.api import DATA_KINDS, Dataset, DatasetRegistration, Example, HarnessError, Provenance
from harness.plugins.called_with import CALLED_WITH
from harness.testing.registrations import as_json, broken, build, check_registration, path_of, random_numbers_untouched
from harness.testing.rules import rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import NoReturn

    from harness.api import DataKind


def check_dataset(
    registration: DatasetRegistration,
    folder: Path,
    options: Mapping[str, Any] | None = None,
    source: Path | None = None,
) -> None:
    """Check that a data set is prepared once and read back the same for ever.

    ``identity`` is JSON, stable and needs no network; ``prepare`` leaves everything in its folder and says where it
    came from; every split has rows with unique ids, in a fixed order, with what its kind (``provides``, ``kind_of``)
    promises, labels in unpaired preferences alone, something to learn in ``train``, and columns that are JSON; the same
    in a process that hashes texts otherwise; a split that does not exist is one of the harness's own errors; no global
    random numbers.

    Args:
        registration: the data set.
        folder: an empty folder to prepare in.
        options: as a benchmark file would give them.
        source: what a user would give as ``path:``; without it the data set's own default is prepared, which may need
            the network.
    """
    check_registration(registration)
    prepared = "it is prepared, and every row has an id of its own and what its kind promises"
    with rule(prepared), random_numbers_untouched(registration, "preparing or loading it"):
        first = _prepare(registration, folder / "first", options, source)
        again = _prepare(registration, folder / "second", options, source)
    with rule("prepared again it has the same rows"):
        if first != again:
            broken(registration, "preparing it again gave other rows")
    with rule("the same rows in another process"):
        _check_elsewhere(registration, folder / "first", options, first)
    with rule("a split that does not exist is refused in words"):
        try:
            with _no_network(registration, "load()"):
                list(build(registration, options).load(folder / "first", "no-such-split"))
        except HarnessError:
            return
        broken(registration, "a split that does not exist must be an InputError, and was read without one")


def _check_elsewhere(
    registration: DatasetRegistration, folder: Path, options: Mapping[str, Any] | None, rows: dict[str, list[str]]
) -> None:
    """Read the rows in a process of its own, where Python hashes texts otherwise; and make them there, if by code.

    A registration whose ``build`` is not an import string exists in this process alone, and is let pass.
    """
    model = registration.options
    if not isinstance(registration.build, str) or "<locals>" in model.__qualname__ or model.__module__ == "__main__":
        return
    task = {
        "path": path_of(registration),
        "build": registration.build,
        "options": f"{model.__module__}:{model.__qualname__}",
        "raw": dict(options or {}),
        "folder": str(folder),
        "splits": list(rows),
        "generated": registration.generated,
    }
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    result = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE, json.dumps(task)], env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if result.returncode:
        broken(registration, f"it cannot be read in another process: {result.stderr.strip().splitlines()[-1]}")
    for split, digest in json.loads(result.stdout.splitlines()[-1]).items():
        if digest != rows_digest(rows[split]):
            what = f"split {split!r} comes out differently in another process"
            broken(registration, f"{what} (does an id or an order come from hash() or from a set?)")


#: What the other process does: build, make if that needs no network, read, and say what came out.
_ELSEWHERE: Final = """
import json, sys
told = json.loads(sys.argv[1])
sys.path[:] = told["path"]
from harness.testing.datasets import read_elsewhere
print(json.dumps(read_elsewhere(told)))
"""


def read_elsewhere(task: Mapping[str, Any]) -> dict[str, str]:
    """Return the digest of each split's rows, read (or made and read) in this process."""
    make, model = (_follow(task[name]) for name in ("build", "options"))
    dataset: Dataset = make(model.model_validate_json(json.dumps(task["raw"]), strict=True))
    with tempfile.TemporaryDirectory() as other:
        folder = Path(task["folder"])
        if task["generated"]:
            folder = Path(other)
            dataset.prepare(None, folder)
        return {split: rows_digest(map(row_text, dataset.load(folder, split))) for split in task["splits"]}


def rows_digest(rows: Iterable[str]) -> str:
    """Return the sha256 of rows as text, in their order."""
    total = hashlib.sha256()
    for row in rows:
        total.update(f"{row}\n".encode(errors="surrogatepass"))
    return total.hexdigest()


def row_text(row: Example) -> str:
    """Return all that a row holds as text."""
    said = (row.id, sorted(row.fields.items()), row.completion, row.references, row.chosen, row.rejected, row.label)
    return repr(said) + json.dumps(dict(row.columns), sort_keys=True)


def _follow(target: str) -> Any:
    module, _, path = target.partition(":")
    return functools.reduce(getattr, path.split("."), importlib.import_module(module))


def _prepare(
    registration: DatasetRegistration, folder: Path, options: Mapping[str, Any] | None, source: Path | None
) -> dict[str, list[str]]:
    dataset: Dataset = build(registration, options)
    validated = registration.options.model_validate(dict(options or {}))
    with _no_network(registration, "identity()"):
        identity = as_json(registration, dict(dataset.identity(source)), "identity()")
        if identity != as_json(registration, dict(build(registration, options).identity(source)), "identity()"):
            broken(registration, "identity() says something else when asked again")
    folder.mkdir(parents=True)
    provenance = dataset.prepare(source, folder)
    if not isinstance(provenance, Provenance):
        broken(registration, f"prepare() must return a Provenance, and returned {type(provenance).__name__}")
    if not provenance.origin:
        broken(registration, "prepare() must say where the content came from")
    with _no_network(registration, "load()"):
        names = registration.splits_in(validated, source)
        splits = {split: list(dataset.load(folder, split)) for split in names}
        fresh: Dataset = build(registration, options)
        for split, rows in splits.items():
            if list(fresh.load(folder, split)) != rows:
                broken(registration, f"split {split!r} comes out differently when it is read again")
        kinds = {split: registration.kind(validated, source, split) for split in splits}
    return {split: _rows(registration, split, rows, kinds[split]) for split, rows in splits.items()}


def _rows(registration: DatasetRegistration, split: str, rows: list[Example], kind: DataKind) -> list[str]:
    """Check the rows of a split and return each as text."""
    if kind not in DATA_KINDS:
        broken(registration, f"split {split!r}: there is no kind of data {kind!r}")
    if not rows:
        broken(registration, f"split {split!r} is empty: register only the splits that exist")
    texts = []
    for row in rows:
        where = f"split {split!r}, row {getattr(row, 'id', None)!r}"
        if not isinstance(row, Example):
            broken(registration, f"{where}: load() must yield Example, and yielded {type(row).__name__}")
        if not isinstance(row.id, str) or not row.id:
            broken(registration, f"{where}: an id is text")
        if not row.fields or not all(isinstance(text, str) for pair in row.fields.items() for text in pair):
            broken(registration, f"{where}: fields are texts by name, and there is one at least")
        if lack := _lack(row, kind):
            broken(registration, f"{where}: it provides {DATA_KINDS[kind]}, and has {lack}")
        references: object = row.references
        if not isinstance(references, tuple) or not all(isinstance(text, str) for text in references):
            broken(registration, f"{where}: references are a tuple of texts")
        if any(not text.strip() for text in references):
            broken(registration, f"{where}: a reference is blank: leave out what nothing can be compared with")
        if taken := sorted({*CALLED_WITH, "references"} & row.columns.keys()):
            broken(registration, f"{where}: the column {taken[0]!r} has a name that rewards are called with")
        as_json(registration, dict(row.columns), f"{where}: columns")
        texts.append(row_text(row))
    taught = kind in {"references", "prompts"} or any(row.demonstration is not None for row in rows)
    if split == "train" and not taught:
        broken(registration, f"split {split!r}: no row has a completion to learn from")
    ids = [row.id for row in rows]
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        broken(registration, f"split {split!r}: the id {twice!r} is used twice")
    return texts


def _lack(row: Example, kind: DataKind) -> str:
    """Say what keeps a row from being of its kind; nothing where it is."""
    if kind == "unpaired_preferences":
        if row.completion is None or not isinstance(row.label, bool):
            return "no completion with a label that is true or false"
    elif row.label is not None:
        return "a label, which unpaired preferences alone have"
    if kind == "preferences" and (row.chosen is None or row.rejected is None):
        return "no chosen and rejected answer"
    if kind == "demonstrations" and row.completion is None and not row.references:
        return "neither a completion nor references"
    if kind == "references" and not row.references:
        return "no references"
    if kind in {"references", "prompts"} and row.completion is not None:
        return "a completion"
    return ""


@contextmanager
def _no_network(registration: DatasetRegistration, what: str) -> Iterator[None]:
    def refuse(*_: object, **__: object) -> NoReturn:
        broken(registration, f"{what} used the network; only prepare() may")

    kept = socket.socket.connect, socket.getaddrinfo
    socket.socket.connect, socket.getaddrinfo = refuse, refuse  # type: ignore[method-assign]  # for this block
    try:
        yield
    finally:
        socket.socket.connect, socket.getaddrinfo = kept  # type: ignore[method-assign]  # as above
