"""Text to token ids and back: the only place of the harness that does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


class Tokeniser:
    """A tokenizer of a model folder, used the same way for training, sampling and evaluation."""

    eos_id: int
    bos_id: int | None
    """What the tokenizer puts before a text, by its own convention; None where it puts nothing."""
    size: int
    """One more than the highest id that has a token."""
    absent: tuple[int, ...]
    """Ids below ``size`` that have no token; almost always empty."""
    digest: str
    """sha256 of the vocabulary, merges, rules and special tokens."""
