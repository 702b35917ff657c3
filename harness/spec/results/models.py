"""What a ``prepare`` stage says of a tokenizer or an untrained model."""

from __future__ import annotations

from typing import ClassVar, Literal

from harness.spec.results.base import ResultFile, ResultPart


class Way(ResultPart):
    """How a model is scored and decoded (see ``harness/lm/way.py``)."""

    name: Literal["fast", "general"]
    reason: str = ""
    """Why it is not the fast one."""
    batched: bool = True
    """Whether prompts are decoded together: not where a model takes padding at the left for text."""

    def __str__(self) -> str:
        """Return it in words."""
        if self.name == "fast":
            return "fast way: packed trees, shared prompts"
        prompts = "copied caches" if self.batched else "prompts decoded one at a time, for padding is text to the model"
        return f"general way: padded rows, {prompts}; {self.reason}"


class PreparedModel(ResultFile):
    """What is known of a tokenizer or an untrained model."""

    file: ClassVar[str] = "model.json"

    trained: str | None = None
    """How one that was made here was trained."""
    name: str | None = None
    path: str | None = None
    """Where one that exists lay; None for the hub."""
    revision: str | None = None
    """The resolved commit of the hub."""
    content: str | None = None
    """The digest of the files of one that exists."""
    notes: tuple[str, ...] = ()
    """What must be known of its weights: ``dequantised from Q4_1``."""
    positions: int | None = None
    """The context in tokens; None for no limit, or where there is no model."""
    way: Way | None = None
    """Which way its structure has it take through scoring and decoding, whatever the environment's switches are; None
    where there is no model."""

    @property
    def hub_name(self) -> str | None:
        """What one that exists is called on the hub: that of a folder, if it is called OWNER/NAME."""
        return self.name if self.path is None or "/" in (self.name or "") else None
