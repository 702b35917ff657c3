"""Whatever a benchmark file holds: a benchmark that differs by what was written, or clear messages; nothing else."""

from __future__ import annotations

import copy
import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from benchmark.invented import SMALL, invented_registry
from fuzz.campaign import Campaign
from hypothesis import assume, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from harness.benchmark import json_schema, load_benchmark, profiles
from harness.errors import InputError, InputErrors
from harness.spec.benchmark import Benchmark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
SCHEMA = Draft202012Validator(json_schema(REGISTRY))

FILES = Campaign("benchmark files", few=90, many=11_200)

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


def at(path: tuple[Any, ...], tree: Any = TREE) -> Any:
    return functools.reduce(lambda inner, key: inner[key], path, tree)


def paths(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in items:
        yield from paths(child, (*path, key))


PATHS = [path for path in paths(TREE) if path]
#: Mappings whose keys are names that the file gives.
NAMES = {("decoding",), ("profiles",), ("sources",), ("models", 0, "config")}
CLOSED = [path for path in paths(TREE) if isinstance(at(path), dict) and path not in NAMES]
LEAVES = [path for path in PATHS if not isinstance(at(path), (dict, list))]
CORPUS = sorted((Path(__file__).parent / "corpus" / "benchmark-files").iterdir())


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "file.yaml"


def outcome(file: Path, *overrides: str, profile: str | None = None) -> Benchmark | list[str]:
    """Load the file; whatever is refused must be refused in words that a terminal can show."""
    try:
        found = load_benchmark(file, registry=REGISTRY, profile=profile, overrides=overrides)
    except InputError as refusal:
        errors = refusal.errors if isinstance(refusal, InputErrors) else (refusal,)
        for error in errors:
            check_message(error, file, overrides)
        return [str(error) for error in errors]
    assert Benchmark.model_validate_json(found.model_dump_json()) == found
    return found


def check_message(error: Any, file: Path, overrides: tuple[str, ...]) -> None:
    text = str(error)
    assert all(line.isprintable() for line in text.split("\n"))
    assert str(error.where).startswith((str(file), "-o ", "--profile"))
    assert overrides or error.where is None or not error.where.startswith("-o")
    assert len(text) < 5000


def tried(file: Path, *overrides: str, profiles: tuple[str | None, ...] = (None,)) -> list[Benchmark | list[str]]:
    """Return what becomes of a file in some of its profiles, as one case."""
    with FILES.case() as said:
        found = [outcome(file, *overrides, profile=profile) for profile in profiles]
        said("refused" if all(isinstance(each, list) for each in found) else "read")
    return found


def without_nulls(tree: Any) -> Any:
    """Return a file without the keys that are null: they are read as if they were not there."""
    if isinstance(tree, dict):
        return {key: without_nulls(value) for key, value in tree.items() if value is not None}
    return [without_nulls(value) for value in tree] if isinstance(tree, list) else tree


def write(file: Path, tree: Any) -> None:
    # JSON with ASCII alone is YAML, and escapes reach the reader as a person could write them
    file.write_text(json.dumps(tree), encoding="utf-8")


def changed(path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    tree = copy.deepcopy(TREE)
    change(at(path[:-1], tree), path[-1])
    return tree


def test_the_files_to_be_mutated_are_right(file: Path) -> None:
    write(file, TREE)
    assert isinstance(outcome(file), Benchmark)
    assert isinstance(outcome(file, profile="default"), Benchmark)
    assert SCHEMA.is_valid(TREE)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_what_once_failed(path: Path, file: Path) -> None:
    file.write_bytes(path.read_bytes())
    found = outcome(file)
    assert isinstance(found, list)
    assert len(found) == 1


@FILES.settings(0.4)
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
        try:
            holder = at(path[:-1], tree)
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
    profiles = tree.get("profiles")
    found = tried(file, profiles=(None, "default", *(profiles if isinstance(profiles, dict) else ())))
    # what an editor is told to underline is never let pass
    assert any(isinstance(each, list) for each in found) or SCHEMA.is_valid(without_nulls(tree))


@FILES.settings(0.1)
@given(
    st.sampled_from(CLOSED),
    st.text("abz_-. é", max_size=6) | st.sampled_from(["epoch", "Use", "seed ", "method"]),
    st.sampled_from([None, 0, 1.5, True, "x", [], {}, [{}]]),
)
def test_a_key_that_nobody_knows_is_refused_by_its_name(file: Path, path: Any, name: str, value: Any) -> None:
    key = f"zq{name}"  # which begins no key
    tree = copy.deepcopy(TREE)
    at(path, tree)[key] = value
    write(file, tree)
    profiles = tree.get("profiles")
    found = tried(file, profiles=(None, "default", *(profiles if isinstance(profiles, dict) else ())))
    texts = "\n".join(text for each in found if isinstance(each, list) for text in each)
    assert "zq" in texts


@FILES.settings(0.1)
@given(st.sampled_from(LEAVES), SCALARS)
def test_another_value_is_refused_or_makes_another_benchmark(file: Path, path: Any, value: Any) -> None:
    old = at(path)
    assume(value is not None)  # which is as if the key were not there
    assume(value != old or type(value) is not type(old))
    write(file, TREE)
    before = [outcome(file), outcome(file, profile="default")]
    write(file, changed(path, lambda holder, key: holder.__setitem__(key, value)))
    after = tried(file, profiles=(None, "default"))
    assert after != before or value == old


@FILES.settings(0.2)
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
    tried(file)


@FILES.settings(0.1)
@given(st.text(alphabet="ab01-:{}[],&*!|>'\"#%@`~\\?<. \n\t\r\ufeff\u2028é", max_size=60) | st.binary(max_size=60))
def test_a_file_that_is_hardly_yaml(file: Path, text: str | bytes) -> None:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    tried(file)
    try:
        profiles(file)
    except InputError as error:
        check_message(error.errors[0] if isinstance(error, InputErrors) else error, file, ())


@FILES.settings(0.08)
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
    tried(file, *overrides)


@FILES.settings(0.02)
@given(st.text(max_size=12) | WORDS)
def test_any_profile(file: Path, profile: str) -> None:
    file.write_text(LARGE)
    tried(file, profiles=(profile,))
