"""The page about several devices: its commands print what it shows, on invented machines."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from docs.pages import compared, text_of
from execution.test_places import machine

if TYPE_CHECKING:
    from pathlib import Path

PAGE = text_of("several-devices.md")
BLOCKS = re.findall(
    r"^<!-- machine: (\d+) GPUs, (\d+) cores -->\n```console\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE
)


def test_all_blocks_are_found() -> None:
    assert len(BLOCKS) == PAGE.count("```console") == 3


@pytest.mark.parametrize(("gpus", "cores", "block"), BLOCKS, ids=lambda part: part[:2])
def test_the_page_shows_what_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: str, cores: str, block: str
) -> None:
    machine(monkeypatch, gpus=int(gpus), cores=int(cores))
    (tmp_path / "several.yaml").write_text(re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)[0])
    monkeypatch.chdir(tmp_path)
    assert set(compared(block)) == {"plan"}
