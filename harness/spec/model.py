"""A language model and the form of its prompts, as the file names them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, PositiveInt

from harness.spec.section import DISPLAY, RESULT, RUNTIME, Section, mark

#: The name of a token, or a string, that ends an answer.
StopText: TypeAlias = Annotated[str, Field(min_length=1)]


class Model(Section):
    """A causal language model: ``name`` on the hub, a local ``path``, or a ``config`` for random weights."""

    name: str = mark(DISPLAY)
    """Hub name, or for a local or new model the name that tables show."""
    label: str | None = mark(DISPLAY, None)
    path: str | None = mark(RUNTIME, None)
    """A local folder in Hugging Face format, an adapter's folder in PEFT's, or a GGUF file; its content, not its path,
    is part of the id."""
    base: str | None = mark(RUNTIME, None)
    """What an adapter goes on: a folder, or a hub name; what its ``adapter_config.json`` names where None."""
    revision: str | None = mark(RESULT, None)
    """Hub commit; the resolved one is recorded."""
    config: dict[str, Any] | None = mark(RESULT, None)
    """Arguments of a transformers configuration, ``model_type`` among them: weights are drawn at random."""
    vocab_size: PositiveInt | None = mark(RESULT, None)
    """For a new model: entries of the byte-level BPE that is trained on the training split."""
    dtype: Literal["float32", "float64", "bfloat16"] = mark(RESULT, "float32")
    """bfloat16 means autocast over float32 master weights; float64 is for tests."""
    attention: Literal["sdpa", "eager"] = mark(RESULT, "sdpa")
    stop: tuple[StopText, ...] = mark(RESULT, ())
    """What ends an answer in training and at evaluation, besides the tokenizer's EOS and what generation_config.json
    says: names of added tokens, or strings."""

    @property
    def shown(self) -> str:
        """What tables call it."""
        return self.label or self.name


class Template(Section):
    """How a row becomes a prompt. Its sha256 is recorded and tables refuse to mix templates."""

    text: str | None = mark(RESULT, None)
    """With ``{field}`` for a field of the row (``instruction``, ``context``, …); needed unless there is ``chat``, under
    which it is what the user says."""
    text_without_context: str | None = mark(RESULT, None)
    """Used instead where the ``truncate`` field is empty."""
    truncate: str = mark(RESULT, "context")
    """The field that is cut from its left end until an over-long test prompt fits."""
    chat: bool | str = mark(RESULT, False)
    """``true`` for the chat template of each model's tokenizer, or a chat template in Jinja, as text."""
    system: str | None = mark(RESULT, None)
    """What the system says first under a chat template, where a row's conversation does not say it."""
