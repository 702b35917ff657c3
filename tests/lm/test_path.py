"""The way of a batch that newcomers are shown is the one that it takes."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import lm
from harness.execution.tiny import tiny_batch, tiny_policy
from harness.lm import attention
from harness.lm.decode import prefix
from harness.lm.model import backbone
from harness.lm.score import logprobs, trees
from harness.lm.way import way_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

ROOT = Path(lm.__file__).resolve().parents[1]
DOC = lm.__doc__ or ""


def listed(title: str) -> list[str]:
    """Return the function that each numbered step of a list names first."""
    steps = DOC.partition(title)[2].partition("\n\nFrom ")[0]
    found = re.findall(r"^(\d+)\. ``([\w.]+)``", steps, re.MULTILINE)
    assert [number for number, _ in found] == [str(number) for number in range(1, len(found) + 1)]
    return [name.removeprefix("backbone.") for _, name in found]


class Stacks:
    """The functions of the harness that stand on the stack when some are called, outermost first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: dict[str, list[list[str]]] = {}
        self._monkeypatch = monkeypatch

    def watch(self, module: Any, name: str) -> None:
        function: Callable[..., Any] = getattr(module, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            self.seen.setdefault(name, []).append([*self._stack(), name])
            return function(*args, **kwargs)

        self._monkeypatch.setattr(module, name, watched)

    def _stack(self) -> list[str]:
        names = []
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            code = frame.f_code
            if Path(code.co_filename).is_relative_to(ROOT):
                names.append(code.co_qualname.rpartition("<locals>.")[2])
            frame = frame.f_back
        return names[::-1]


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch) -> Stacks:
    return Stacks(monkeypatch)


def test_sampling_takes_the_steps_that_are_listed(stacks: Stacks) -> None:
    from training.test_services import services

    run, batch = services(), tiny_batch(tiny_policy())
    assert way_of(run.policy).name == "fast"
    steps = listed("From ``run.sample")
    assert steps[0] == "Services.sample"
    assert len(steps) <= 10
    stacks.watch(prefix, "product")
    stacks.watch(backbone, "logits")
    run.sample(batch, [1.0, 0.7])
    assert stacks.seen["product"]
    for stack in stacks.seen["product"]:
        assert "\n".join(stack) == "\n".join(steps)
    decoding = [stack for stack in stacks.seen["logits"] if "decoder" not in stack]
    assert decoding
    assert all(stack == [*steps[: steps.index("forward")], "logits"] for stack in decoding)
    assert max(map(len, stacks.seen["logits"])) <= 10  # the first token's too, behind the prompts


def test_scoring_takes_the_steps_that_are_listed(stacks: Stacks) -> None:
    from training.test_services import services

    run, batch = services(), tiny_batch(tiny_policy())
    assert way_of(run.policy).name == "fast"
    steps = listed("From ``run.logprobs")
    assert steps[0] == "Services.logprobs"
    assert len(steps) <= 10
    stacks.watch(trees, "product")
    stacks.watch(logprobs, "token_scores")
    samples = batch.demonstrations.join(batch.demonstrations)

    def inside(stack: list[str]) -> list[str]:
        return stack[stack.index(steps[0]) :]

    run.update(lambda batch, samples: {"a": run.logprobs(batch, samples).sum().sum()}, batch=batch, samples=samples)
    assert stacks.seen["product"]
    assert all(inside(stack) == steps for stack in stacks.seen["product"])
    scored = [*steps[: steps.index("forward")], "token_scores"]
    assert all(inside(stack) == scored for stack in stacks.seen["token_scores"])


def test_each_file_that_is_named_has_the_functions_of_its_step() -> None:
    files = re.findall(r"``([a-z_]+(?:/[a-z_]+)?\.py)``", DOC)
    assert len(files) > 8
    source = ""
    for name in dict.fromkeys(files):
        path = next(place / name for place in (ROOT / "lm", ROOT) if (place / name).is_file())
        source += path.read_text(encoding="utf-8")
    named = re.findall(r"``(?!\w+\.py)(?:[a-z]+\.)?(?:[A-Z]\w+\.)?([a-z_]+)``", DOC)
    assert {"sample", "forward", "attend", "product", "prepare", "decoder"} <= set(named)
    assert [name for name in named if f"def {name}(" not in source] == []
    assert attention.product.__name__ == "product"
