"""Every term of the glossary has a meaning and a place that exists and speaks of it."""

from __future__ import annotations

import re

import pytest
from docs.pages import text_of

PAGE = text_of("glossary.md")
SECTIONS = re.findall(r"^## .*\n\n\| term .*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
ROWS = [re.findall(r"^\| (.*?) \| (.*?) \| (.*?) \|$", part, re.MULTILINE) for part in SECTIONS]
TERMS = [row for rows in ROWS for row in rows]
#: What people search for.
WANTED = (
    "minimum detectable effect", "power", "confidence interval", "compact letter display", "paired difference", "RLOO",
    "GRPO", "LoRA", "KL", "on-policy", "temperature", "reward hacking", "pass@k", "exposure bias",
)  # fmt: skip


def names(cell: str) -> list[str]:
    """Return the terms that stand in bold in a first cell."""
    (bold,) = re.findall(r"\*\*(.*?)\*\*", cell)
    return str(bold).split(", ")


def plain(text: str) -> str:
    """Return a text as it is searched: small, without hyphens and the plural's s."""
    return re.sub(r"s\b", "", re.sub(r"[-–]", " ", text.lower()))


def test_what_people_search_for_is_there() -> None:
    known = {name for cell, _, _ in TERMS for name in names(cell)}
    assert [term for term in WANTED if term not in known] == []


@pytest.mark.parametrize(("cell", "meaning", "where"), TERMS, ids=lambda part: part[:24])
def test_a_term_is_explained_where_it_points(cell: str, meaning: str, where: str) -> None:
    assert meaning.endswith(".")
    links = re.findall(r"\]\(([\w./-]+\.md)(?:#[\w-]+)?\)", where)
    assert links
    texts = plain(" ".join(text_of(link) for link in links))
    assert any(word in texts for word in plain(re.sub(r"[*(),]", " ", cell)).split() if len(word) > 1), cell


@pytest.mark.parametrize("rows", ROWS, ids=range(len(ROWS)))
def test_terms_are_in_order(rows: list[tuple[str, str, str]]) -> None:
    first = [re.sub(r"\W", "", names(cell)[0]).lower() for cell, _, _ in rows]
    assert first == sorted(first)
