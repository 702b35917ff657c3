"""Answers to judge, services that keep and listen, and a judge's options."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from harness.api import MetricResult, Sample
from harness_plugins.metrics.win_rate.metric import WinRate
from harness_plugins.metrics.win_rate.options import WinRateOptions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

#: What must stand in no byte of anything that is written or said.
CANARY = "sk-canary-3f9a17c2e8"
VARIABLE = "HARNESS_TEST_JUDGE_KEY"


def answers(count: int, *, longer: bool = False) -> list[Sample]:
    """Return answers with a reference each, all different; those at even places are the longer of the two."""
    made = []
    for n in range(count):
        text, known = f"answer {n} " + "long " * 9, f"reference {n} " + "x " * 5
        made.append(sample(n, text if longer or n % 2 == 0 else f"answer {n}", known))
    return made


def sample(number: int, text: str, known: str | None, **more: Any) -> Sample:
    fields = {"draw": 0, "prompt": f"Question {number}?", "tokens": 1, "finished": True, **more}
    return Sample(id=str(number), text=text.strip(), references=() if known is None else (known,), **fields)


@dataclass
class Services:
    """What the harness gives a metric."""

    folder: Path
    rows: dict[str, Sequence[Sample]] = field(default_factory=dict)
    said: list[tuple[int, int, str]] = field(default_factory=list)
    retry_before: float = 0.0

    def answers_of(self, label: str) -> Sequence[Sample]:
        return self.rows[label]

    def cache(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def tell(self, done: int, total: int, note: str) -> None:
        self.said.append((done, total, note))

    def rewards(self, samples: Sequence[Sample], texts: Sequence[str]) -> list[float]:
        return [float(len(text)) for text in texts]


def options(url: str = "http://127.0.0.1:9/v1", **more: Any) -> WinRateOptions:
    """Return options of an endpoint whose waits are short."""
    values = {
        "judge": "endpoint", "model": "judge-1", "base_url": url, "api_key_env": VARIABLE, "backoff": 0.01,
        "timeout": 5.0, **more,
    }  # fmt: skip
    return WinRateOptions.model_validate(values)


def judged(samples: Sequence[Sample], services: Any, chosen: WinRateOptions) -> MetricResult:
    return WinRate(chosen).score(samples, services)


def others(samples: Sequence[Sample], text: str) -> list[Sample]:
    return [replace(s, text=f"{text} {s.id}") for s in samples]
