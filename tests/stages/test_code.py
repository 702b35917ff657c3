"""A stage's id holds the source that the stage runs: exactly that, and not what is said beside it."""

from __future__ import annotations

import ast
import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import grimp
import pytest

import harness
from harness.plugins.closure import Sources
from harness.plugins.loader import load_registry
from harness.stages.entries import ENTRIES, roots

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROOT = Path(harness.__file__).resolve().parents[1]
PACKAGES = {"harness": ROOT, "harness_plugins": ROOT / "plugins"}


def plugin_roots() -> dict[str, tuple[str, ...]]:
    """Return the modules in which each plugin of the repository begins."""
    rows = [row for row in load_registry().plugins if row.where.startswith("harness_plugins")]
    found = {}
    for row in rows:
        assert row.registration is not None
        assert isinstance(row.registration.build, str)
        found[f"{row.kind} {row.name}"] = (row.registration.build.partition(":")[0], *row.registration.modules)
    return found


#: Kinds that load a model.
RUNS_A_MODEL = set(ENTRIES) - {"rows", "tokenizer", "score", "answers"}

BEGINNINGS: dict[str, tuple[str, ...]] = {**{kind: roots(kind) for kind in ENTRIES}, **plugin_roots()}


def digests(folders: Iterable[Path], package: str = "") -> dict[str, str]:
    """Return the digest of every beginning, or of those in one package alone."""
    sources = Sources([str(folder) for folder in folders])
    return {name: sources.digest(begin) for name, begin in BEGINNINGS.items() if begin[0].startswith(package)}


def files(folder: Path) -> dict[str, Path]:
    """Return the file of every module below a folder."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for what is known of sources, empty before these tests: they begin with the same ones."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def copies(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Copy the packages; return the folders that they lie in."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    for package, folder in PACKAGES.items():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(folder / package, tmp_path / package / package, ignore=ignored)
    return [tmp_path / package for package in PACKAGES]


@functools.cache
def reached() -> Mapping[str, set[str]]:
    """Return what each beginning reaches by another reader of imports, packages on the way included."""
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)
    found = {}
    for name, begin in BEGINNINGS.items():
        top = begin[0].partition(".")[0]
        seen: set[str] = set()
        waiting = [*begin]
        while waiting:
            module = waiting.pop()
            if module in seen or module.partition(".")[0] != top:
                continue
            seen.add(module)
            waiting += graph.find_modules_directly_imported_by(module)
            waiting += [module.rpartition(".")[0]] if "." in module else []
        found[name] = seen
    return found


def change(path: Path) -> bytes:
    """Add a statement to a module; return its source before."""
    source = path.read_bytes()
    path.write_bytes(source + b"\nchanged_for_a_test = 1\n")
    return source


def test_each_beginning_holds_exactly_the_modules_that_it_reaches(copies: list[Path]) -> None:
    sources = Sources([str(folder) for folder in copies])
    assert {name: set(sources.closure(begin)) for name, begin in BEGINNINGS.items()} == reached()


@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.long)])
def test_each_module_changes_what_runs_it(copies: list[Path], step: int) -> None:
    """Seen where the least runs it: what else runs it holds it in the same way."""
    folders, before, everything = [str(folder) for folder in copies], digests(copies), reached()
    for folder in copies:
        for module, path in [*files(folder).items()][::step]:
            run_by = [name for name, seen in everything.items() if module in seen]
            if run_by:
                least = min(run_by, key=lambda name: len(everything[name]))
                source = change(path)
                assert Sources(folders).digest(BEGINNINGS[least]) != before[least], module
                path.write_bytes(source)
    assert digests(copies) == before


def test_no_module_changes_what_does_not_run_it(copies: list[Path]) -> None:
    folders, before, everything = [str(folder) for folder in copies], digests(copies), reached()
    paths = {module: path for folder in copies for module, path in files(folder).items()}
    sources = {module: change(path) for module, path in paths.items()}
    for name, seen in everything.items():
        for module in seen & paths.keys():
            paths[module].write_bytes(sources[module])
        assert Sources(folders).digest(BEGINNINGS[name]) == before[name], name
        for module in seen & paths.keys():
            change(paths[module])


@pytest.mark.long
def test_the_core_is_no_part_of_a_plugin_nor_a_plugin_of_a_stage(copies: list[Path]) -> None:
    before = digests(copies)
    for folder in copies:
        for path in files(folder).values():
            change(path)
        after = digests(copies)
        changed = {name for name in BEGINNINGS if after[name] != before[name]}
        assert changed == {name for name, begin in BEGINNINGS.items() if begin[0].startswith(f"{folder.name}.")}
        before = after


class Commented(ast.NodeTransformer):
    """Says something in every module, class and function."""

    def visit(self, node: ast.AST) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            future = [n for n in node.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
            rest = [n for n in node.body if n not in future]
            said = (
                [] if ast.get_docstring(node) is not None and future else [ast.Expr(ast.Constant("Said for a test."))]
            )
            node.body = [*future, *said, *rest] if ast.get_docstring(node) is None else [*node.body, *said]
        return node


def test_comments_docstrings_and_layout_change_nothing(copies: list[Path]) -> None:
    before = digests(copies)
    for folder in copies:
        for path in [*files(folder).values()][::6]:  # as many kinds of statements as in all of them
            tree = Commented().visit(ast.parse(path.read_bytes()))
            path.write_text(
                f"# a comment\n{ast.unparse(ast.fix_missing_locations(tree))}\n# another\n", encoding="utf-8"
            )
    assert digests(copies) == before


@pytest.mark.parametrize(
    ("module", "kinds"),
    [
        ("harness.report.write", set()),
        ("harness.execution.runner", set()),
        ("harness.plan.build", set()),
        # what is handed in: it changes no number
        ("harness.store.stages", set()),
        ("harness.store.records", set()),
        ("harness.store.drafts", set()),
        # what a stage makes part of its result, or of the digests in its children's ids
        ("harness.store.environment", set(ENTRIES)),
        ("harness.store.identity", set(ENTRIES) - {"tokenizer", "new-model"}),
        ("harness.store.parts", {"reference-logprobs", "reward-statistics", "train", "generate", "score-by-model"}),
        # each kind that prepares runs its own module, and what reads a checkpoint runs none of them
        ("harness.stages.rows", {"rows"}),
        ("harness.stages.tokenizer", {"tokenizer"}),
        ("harness.stages.new_model", {"new-model"}),
        ("harness.stages.existing_model", {"model"}),
        ("harness.stages.classifier", {"classifier"}),
        ("harness.text.bpe", {"tokenizer"}),
        ("harness.lm.model.initialise", {"new-model"}),
        ("harness.stages.suitability", {"new-model", "model"}),
        ("harness.lm.model.policy", RUNS_A_MODEL),
        ("harness.spec.stages.rows", {"rows"}),
        ("harness.spec.stages.new_model", {"tokenizer", "new-model"}),
        ("harness.spec.stages.existing_model", {"model", "classifier"}),
        ("harness.spec.results.provenance", {"rows"}),
        # the probe that chooses a model's way tries both: scoring and decoding take the same
        ("harness.lm.decode.prefix", RUNS_A_MODEL),
        ("harness.lm.decode.sampling", {"generate", "train"}),
        ("harness.training.loop", {"train"}),
        ("harness.spec.results.train", {"train"}),
        ("harness.training.meters", {"train"}),
        ("harness.training.scoring", {"train"}),
        ("harness.plugins.option_groups", set()),
        ("harness.spec.benchmark", set()),
        ("harness.api.types", set(ENTRIES)),
    ],
)
def test_what_is_known_to_run_where(module: str, kinds: set[str]) -> None:
    sources = Sources()
    assert {kind for kind in ENTRIES if module in sources.closure(roots(kind))} == kinds


def test_each_kind_has_an_entry_of_its_own() -> None:
    assert len(set(ENTRIES.values())) == len(ENTRIES)


KINDS = ("rows", "tokenizer", "new-model", "classifier", "score", "generate", "train")

#: For each kind, in a fork of a process that has imported what is not ours, the modules of ours that its roots load.
LOADED = """
import json, os, sys
import torch, transformers.modeling_utils, transformers.tokenization_utils_base

for kind, roots in json.loads(sys.argv[1]).items():
    if os.fork() == 0:
        for root in roots:
            __import__(root)
        print(json.dumps([kind, [name for name in sys.modules if name.startswith("harness")]]), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, list[str]]:
    """Return the modules of ours that each kind loads."""
    command = [sys.executable, "-c", LOADED, json.dumps({kind: roots(kind) for kind in KINDS})]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(json.loads(line) for line in said.splitlines())


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_the_core_is_loaded_that_the_id_does_not_hold(kind: str, loaded: dict[str, list[str]]) -> None:
    assert set(roots(kind)) <= set(loaded[kind]) <= Sources().closure(roots(kind)).keys()
