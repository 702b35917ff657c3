"""Whatever a file holds: a benchmark, or clear messages; never anything else."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from benchmark.invented import SMALL, invented_registry
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from harness.benchmark import load_benchmark, profiles
from harness.errors import InputError, InputErrors
from harness.spec.benchmark import Benchmark

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGE = (
    SMALL.replace("coef: 0.5", "sweep: {coef: [0.1, 0.2]}, recipe: {epochs: 4}, schedule: {steps: [1]}")
    .replace(
        "{use: match, variant: whole}", "{parts: [{use: match, variant: whole, weight: 2}, brevity], aggregate: after}"
    )
    .replace("[org/tiny]", "[{name: a, config: {model_type: gpt2}, vocab_size: 9}, {name: b/c, label: B, revision: x}]")
    + "profile: p\nprofiles: {p: {train: {limit: 3}, recipe: {epochs: 5}, methods: [tune, push]}}\n"
    + "sources: {tales: file.yaml}\ntables: [scores]\nscorer: {model: start}\nexecution: {threads: 1}\ntitle: x\n"
    + "validation: {dataset: tales, split: validation}\n"
)
TREE: Any = YAML(typ="safe", pure=True).load(LARGE)
REGISTRY = invented_registry()

QUICK = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # fmt: skip

WORDS = st.sampled_from([
    "use", "tune", "push", "eso", "tales", "label", "options", "recipe", "sweep", "coef", "..", "../../x", "/etc/x",
    "~root", "no", "null", "a.b", "a[b=1]", "{x}", "{", "1e-5", "nan", "\u202e", "é", "\x85", "\n", "default", "base",
    "p", "start", "",
])  # fmt: skip
KEYS = (
    WORDS
    | st.sampled_from([*TREE, *TREE["recipe"], "parts", "dataset", "split", "path", "preset"])
    | st.text(max_size=5)
)
NUMBERS = st.sampled_from([0, 1, -1, 2**31, 2**63, 10**30, 0.5, -0.0, 1e-320, 1e308])
SCALARS = st.none() | st.booleans() | st.integers() | NUMBERS | WORDS | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)


def paths(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in items:
        yield from paths(child, (*path, key))


PATHS = [path for path in paths(TREE) if path]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "file.yaml"


def outcome(file: Path, *overrides: str, profile: str | None = None) -> Benchmark | None:
    """Load the file; whatever is refused must be refused in words that a terminal can show."""
    try:
        found = load_benchmark(file, registry=REGISTRY, profile=profile, overrides=overrides)
    except InputError as refusal:
        for error in refusal.errors if isinstance(refusal, InputErrors) else (refusal,):
            check_message(error, file, overrides)
        return None
    assert Benchmark.model_validate_json(found.model_dump_json()) == found
    return found


def check_message(error: Any, file: Path, overrides: tuple[str, ...]) -> None:
    text = str(error)
    assert all(line.isprintable() for line in text.split("\n"))
    assert str(error.where).startswith((str(file), "-o ", "--profile"))
    assert overrides or error.where is None or not error.where.startswith("-o")
    assert len(text) < 5000


def write(file: Path, tree: Any) -> None:
    # JSON with ASCII alone is YAML, and escapes reach the reader as a person could write them
    file.write_text(json.dumps(tree), encoding="utf-8")


def test_the_files_to_be_mutated_are_right(file: Path) -> None:
    write(file, TREE)
    assert outcome(file) is not None
    assert outcome(file, profile="default") is not None


@QUICK
@given(
    st.lists(
        st.tuples(st.sampled_from(PATHS), st.sampled_from(["set", "delete", "rename"]), VALUES, KEYS),
        min_size=1,
        max_size=3,
    )
)
def test_a_file_with_anything_in_a_wrong_place(
    file: Path, changes: list[tuple[tuple[Any, ...], str, Any, str]]
) -> None:
    tree = copy.deepcopy(TREE)
    for path, change, value, key in changes:
        holder = tree
        try:
            for name in path[:-1]:
                holder = holder[name]
            old = holder[path[-1]]
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took it away
        if not isinstance(holder, (dict, list)):
            continue
        if change == "set":
            holder[path[-1]] = value
        else:
            del holder[path[-1]]
            if change == "rename" and isinstance(holder, dict):
                holder[key] = old
    write(file, tree)
    outcome(file)
    outcome(file, profile="default")


@QUICK
@given(
    st.lists(
        st.tuples(st.integers(0, len(LARGE)), st.integers(0, 3), st.binary(max_size=4) | WORDS.map(str.encode)),
        max_size=6,
    )
)
def test_a_file_with_broken_bytes(file: Path, cuts: list[tuple[int, int, bytes]]) -> None:
    raw = bytearray(LARGE.encode())
    for start, length, instead in cuts:
        raw[start : start + length] = instead
    file.write_bytes(raw)
    outcome(file)


@QUICK
@given(st.text(alphabet="ab01-:{}[],&*!|>'\"#%@`~\\?<. \n\t\r\ufeff\u2028é", max_size=60) | st.binary(max_size=60))
def test_a_file_that_is_hardly_yaml(file: Path, text: str | bytes) -> None:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    outcome(file)
    try:
        profiles(file)
    except InputError as error:
        check_message(error.errors[0] if isinstance(error, InputErrors) else error, file, ())


@QUICK
@given(
    st.lists(
        st.builds(
            lambda path, tail, value: ".".join(map(str, path)) + tail + value,
            st.sampled_from(PATHS),
            st.sampled_from(["=", ".push=", ".use=", ".", "[coef=0.1].coef=", "=="]),
            VALUES.map(json.dumps) | st.text(max_size=8),
        )
        | st.text(max_size=12),
        min_size=1,
        max_size=3,
    )
)
def test_any_override(file: Path, overrides: list[str]) -> None:
    file.write_text(LARGE)
    outcome(file, *overrides)


@settings(QUICK, max_examples=40)
@given(st.text(max_size=12) | WORDS)
def test_any_profile(file: Path, profile: str) -> None:
    file.write_text(LARGE)
    outcome(file, profile=profile)
