"""``prepare``: a tokenizer, trained on the training rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import disk
from harness.spec.results.files import CHECKPOINT
from harness.spec.results.models import PreparedModel
from harness.stages.stored_rows import read
from harness.store.environment import fingerprint
from harness.text.bpe import train_bpe
from harness.text.templates import render, users_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.api import Example
    from harness.plugins.registry import Registry
    from harness.spec.model import Template
    from harness.spec.stages.new_model import TokenizerConfig
    from harness.stages.request import StageRequest, Tell
    from harness.store.records import Record
    from harness.store.stages import Store


def run(
    request: StageRequest[TokenizerConfig],
    store: Store,
    registry: Registry,  # noqa: ARG001  # the common signature
    tell: Tell,
) -> Record:
    """Train a byte-level BPE on the prompts of the training rows and their completions, or else chosen answers."""
    tell(0, 0, "file", "")
    config = request.config
    rows = read(store.open("prepare", request.parents["rows"].id))
    texts = (text for example in rows for text in texts_of(example, config.template))
    with store.draft(request.kind, request.id) as draft:
        with disk.by_library(draft.folder):
            train_bpe(texts, config.vocab_size, draft.folder / CHECKPOINT)
        draft.write(PreparedModel(trained="on the training rows"))
        where = fingerprint(threads=request.runtime.threads, device="cpu", ranks=1)
        return store.commit(draft, config=config.to_json(), environment=where, label=request.label)


def texts_of(example: Example, template: Template) -> Iterator[str]:
    """Yield what a model reads of a row, but for what a chat template writes itself."""
    if not template.chat:
        yield render(template, example.fields)
    elif example.turns:
        yield from (turn.content for turn in example.turns)
    else:
        yield users_text(template, example.fields)
    yield example.completion or example.chosen or ""
