"""The way of a batch that newcomers are shown is the one that it takes."""

from __future__ import annotations

import re
from pathlib import Path

from harness import lm

LM = Path(lm.__file__).resolve().parent


def test_each_step_names_a_function_that_is_where_it_says() -> None:
    text = lm.__doc__ or ""
    sampling = text.partition("From ``run.sample")[2].partition("From ``run.logprobs")[0]
    steps = re.findall(r"^(\d+)\. ", sampling, re.MULTILINE)
    assert steps == [str(number) for number in range(1, len(steps) + 1)]
    assert 1 < len(steps) <= 10
    files = re.findall(r"``(?:lm/)?([a-z_]+(?:/[a-z_]+)?\.py)``", text)
    assert files
    source = ""
    for name in dict.fromkeys(files):
        path = next(place / name for place in (LM, LM.parent) if (place / name).is_file())
        source += path.read_text(encoding="utf-8")
    named = re.findall(r"``(?:[a-z]+\.)?(?:[A-Z]\w+\.)?([a-z_]+)``", text)
    assert {"sample", "forward", "attend", "product"} <= set(named)
    assert [name for name in named if name != "py" and f"def {name}(" not in source] == []
