"""What the documentation says exists, and what exists is documented."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from harness import api
from harness.api.registration import DatasetRegistration, MethodRegistration, MetricRegistration
from harness.cli import main
from harness.plugins.loader import load_registry
from harness.spec.execution import Execution
from harness.spec.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SCRIPT = DOCS / "reference_pages.py"
PAGES: Mapping[str, Callable[[], str]] = runpy.run_path(str(SCRIPT))["PAGES"]
#: Sections of a benchmark file with the keys that they may have.
SECTIONS = {"recipe": set(Recipe.model_fields), "execution": set(Execution.model_fields)}
#: Everything in Markdown that people wrote, results aside.
WRITTEN = sorted(
    [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "results").glob("*.md"), ROOT / "tests" / "README.md"]
)


def headings(text: str) -> set[str]:
    """Return the anchors that a page's headings have."""
    found = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in found}


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_what_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), f"run python docs/{SCRIPT.name}"


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        name, _, anchor = target.partition("#")
        aim = (page.parent / name) if name else page
        assert aim.exists(), target
        if anchor:
            assert anchor in headings(aim.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    roots = "harness|plugins|benchmarks|tests|docs|results"
    for name in re.findall(rf"`((?:{roots})/[\w./-]*)`", text):
        if not name.startswith("results/") or (ROOT / name).suffix == ".md":  # what a run writes is not there before
            assert (ROOT / name).exists() or list(ROOT.glob(f"{name}*")), name


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_keys_of_a_benchmark_file_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for section, known in SECTIONS.items():
        assert set(re.findall(rf"`{section}\.([a-z_]+)", text)) - known == set(), section


def tree(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from tree(f"{path} {name}", below)


def test_every_command_and_option_is_documented() -> None:
    text = (DOCS / "command-line.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^##+ `(.*?)`\n(.*?)(?=^##|\Z)", text, re.DOTALL | re.MULTILINE))
    commands = dict(tree("harness", main))
    assert set(sections) == set(commands)
    assert len(commands) > 7
    for path, command in commands.items():
        for parameter in command.params:
            for name in parameter.opts if isinstance(parameter, click.Option) else [(parameter.name or "").upper()]:
                assert re.search(rf"[`\[ ]{re.escape(name)}[`\] ]", sections[path]), (path, name)
            if isinstance(parameter, click.Option):
                assert parameter.help, (path, parameter.name)


def test_everything_that_a_plugin_may_import_is_documented() -> None:
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    sections = re.findall(r"^### `(\w+)`\n\n`(.*)`$", text, re.MULTILINE)
    assert sorted(name for name, _ in sections) == sorted(api.__all__)
    said = dict(sections)
    assert said["suggest"] == "suggest(name: str, candidates: Iterable[str]) -> str | None"
    assert said["Role"] == "Literal['system', 'user', 'assistant']"  # a conversation's, not a metric's
    assert "| `centred() -> Tensor` | (B, K): value minus the mean of its group; 0 where absent. |" in text


def test_every_plugin_option_preset_and_column_is_documented() -> None:
    text = (DOCS / "plugins.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### (\w+ `.*?`)\n(.*?)(?=^##|\Z)", text, re.DOTALL | re.MULTILINE))
    own = [row for row in load_registry().plugins if row.distribution == "posttune-harness"]
    assert set(sections) == {f"{row.kind} `{row.name}`" for row in own}
    for row in own:
        section, registration = sections[f"{row.kind} `{row.name}`"], row.registration
        assert registration is not None
        names = [rf"`{name}[`:]" for name in registration.options.model_fields]
        if isinstance(registration, MethodRegistration):
            names += [f"Preset `{name}`" for name in registration.presets]
        if isinstance(registration, DatasetRegistration):
            names += [f"`{split}`" for split in registration.splits]
        if isinstance(registration, MetricRegistration):
            names += [f"`{column.name}`" for column in (*registration.columns, *registration.corpus)]
        assert [name for name in names if not re.search(name, section)] == [], row.name


def test_the_changelog_names_every_plugin_and_the_api() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    own = [row for row in load_registry().plugins if row.distribution == "posttune-harness"]
    assert [row.name for row in own if f"`{row.name}`" not in text] == []


def test_every_decision_is_listed_and_short() -> None:
    folder = DOCS / "adr"
    listed = re.findall(
        r"^\| \[([\w-]+)\]\(([\w.-]+)\) \|", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    pages = [path.name for path in sorted(folder.glob("*.md")) if path.name != "README.md"]
    assert sorted(target for _, target in listed) == pages
    for title, target in listed:
        assert target == f"{title}.md"
        text = (folder / target).read_text(encoding="utf-8")
        assert text.startswith("# ")
        assert len(text.split()) < 400
