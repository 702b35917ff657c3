"""How answers are decoded at evaluation."""

from __future__ import annotations

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt

from harness.spec.model import StopText
from harness.spec.section import RESULT, Section, mark


class Decoding(Section):
    """One way to decode at evaluation; of a checkpoint's generation_config only what ends an answer is taken."""

    temperature: NonNegativeFloat = mark(RESULT, 1.0)
    """0 is greedy."""
    top_k: NonNegativeInt = mark(RESULT, 0)
    top_p: float = mark(RESULT, 1.0, gt=0.0, le=1.0)
    max_new_tokens: PositiveInt = mark(RESULT, 128)
    draws: PositiveInt = mark(RESULT, 1)
    """Answers per prompt; averaged within a prompt before anything else."""
    stop: tuple[StopText, ...] = mark(RESULT, ())
    """What ends an answer under this decoding, besides what ends one in training: names of added tokens, or strings."""
