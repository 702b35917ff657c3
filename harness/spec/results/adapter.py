"""What a training stage says of the adapter that it trained in the place of the weights."""

from __future__ import annotations

from typing import ClassVar

from harness.spec.recipe import AdapterSettings
from harness.spec.results.base import ResultFile, ResultPart


class BaseStage(ResultPart):
    """The stage whose model is below an adapter."""

    kind: str
    id: str


class AdapterRecord(ResultFile):
    """An adapter; ``checkpoint/`` beside it holds its weights alone, in PEFT's format."""

    file: ClassVar[str] = "adapter.json"

    settings: AdapterSettings
    base: BaseStage
    """What the adapter goes on; where that has an adapter of its own, with that one merged."""
