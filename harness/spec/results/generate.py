"""What ``generate`` stages leave behind."""

from __future__ import annotations

from typing import ClassVar

from harness.spec.results.base import ResultFile, ResultLine


class Answer(ResultLine):
    """One answer to one prompt."""

    file: ClassVar[str] = "samples.jsonl"

    id: str
    """Of the row."""
    draw: int
    text: str
    tokens: int
    """Without the one that ended it."""
    finished: bool
    """Whether it ended by itself."""
    stop: str | None = None
    """What ended it: a token by its name, or a string in quotation marks."""
    cut: bool
    """Whether the prompt was cut to fit."""
    entropy: float | None = None
    """Mean nats a token at temperature 1; None where the answer came from elsewhere."""


class GenerateSummary(ResultFile):
    """All answers of a stage."""

    file: ClassVar[str] = "summary.json"

    n: int
    """Prompts."""
    draws: int
    prompts_cut: int
    prompts_dropped: int
    truncated: int
    empty: int
    tokens: int
    seconds: float
    tokens_per_second: float
    entropy: float | None = None
    """None where the answers came from elsewhere; what else is then not known is 0."""
    peak_memory_bytes: int
    concurrent: bool
    left_out: int = 0
    """Answers of a file to prompts that are not among the rows."""
    way: str = ""
    """Which way the model took (see ``harness/lm/way.py``), and why not the fast one."""
    chat_template_sha256: str | None = None
    """Of the text of the chat template, where prompts have one."""
    stops: tuple[str, ...] = ()
    """What would have ended an answer: tokens, and strings in quotation marks."""
    ended: dict[str, int] = {}
    """How many answers each of them ended."""
    noise: str | None = None
    """The first 16 hex digits of a digest of the random numbers that the answers were drawn with; None where nothing
    was left to chance, or that is not known."""
