"""Each message on the page about symptoms is one that is printed: by a command, or by the code that it is found in."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest
from docs.pages import DOCS, compared, text_of
from report.synthetic import Run, step

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PAGE = "troubleshooting.md"
#: Console blocks, each with the results that it looks at, and blocks of messages with the file that has them.
CONSOLES = re.findall(r"(?:^<!-- store: (\w+) -->\n)?^```console\n(.*?)^```$", text_of(PAGE), re.DOTALL | re.MULTILINE)
MESSAGES = re.findall(r"^<!-- from: (\S+) -->\n```text\n(.*?)^```$", text_of(PAGE), re.DOTALL | re.MULTILINE)


def flat(run: Run) -> None:
    still = {
        "reward": {"mean": 0.0, "sd": 0.0, "by_candidate": [0.0, 0.0], "missing": 0},
        "groups": {"count": 4, "without_spread": 4},
    }
    run.log = lambda row, _: [{**step(row), **(still if row == "eso" else {})}]
    run.trained = lambda row, _: {"active": {"sft": True, "eso": False}} if row == "eso" else {}


def kl(run: Run) -> None:
    run.log = lambda row, _: [{**step(row), "step": n, "kl": 0.01 * 3**n} for n in range(8 if row == "eso" else 1)]


def cut(run: Run) -> None:
    run.answered = lambda row, _: {"truncated": 0 if row == "base" else 22}


def unclear(run: Run) -> None:
    run.value = lambda place: 0.3 + 0.02 * ((place.seed * 7 + place.example * (3 + (place.row == "eso"))) % 5)


def alike(run: Run) -> None:
    run.trained = lambda row, seed: {"weights_sha256": "4" * 64} if row == "eso" and seed < 2 else {}


def failed(run: Run) -> None:
    run.unfinished = {("eso", "train", "1")}
    why = "the loss is not finite at step 31, got {'sft': nan}"
    run.manifest = {"failures": [{"stage": "tiny/eso/seed 1/epochs 4-5", "message": why, "because_of": None}]}


def lost(_: Run) -> None:
    """Nothing differs in what is written; a stage is removed afterwards."""


STORES: dict[str, Callable[[Run], None]] = {
    made.__name__: made for made in (flat, kl, cut, unclear, alike, failed, lost)
}


@pytest.mark.parametrize(("store", "block"), CONSOLES, ids=lambda part: part.split("\n")[0][:40])
def test_a_command_says_what_is_shown(store: str, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    if store:
        run = Run(tmp_path / "results", tables=("scores", "signal"))
        STORES[store](run)
        run.write()
    if store == "lost":
        shutil.rmtree(next((tmp_path / "results" / "store" / "generate").iterdir()))
    compared(block)


def test_every_store_is_looked_at() -> None:
    assert {store for store, _ in CONSOLES if store} == set(STORES)
    assert len([block for store, block in CONSOLES if not store]) >= 5


@pytest.mark.parametrize(("file", "block"), MESSAGES, ids=lambda part: part.split("\n")[0][:40])
def test_a_message_is_in_the_code(file: str, block: str) -> None:
    code = (DOCS.parent / file).read_text(encoding="utf-8")
    plain = re.sub(r'"\n\s*f?"', "", code)  # literals that go on in the next line
    for line in block.splitlines():
        for part in filter(None, (part.strip() for part in line.split("..."))):
            assert part in plain, (file, part)
