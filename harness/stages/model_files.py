"""The content of a model's folder or file: what in it can change a result, and its digest."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from harness.store.identity import file_digest, tree_digest

if TYPE_CHECKING:
    from pathlib import Path

#: The files of a model folder that can change a result; weights in other formats are never loaded.
PATTERNS = (
    "config.json", "adapter_config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "vocab.txt", "*.model", "chat_template.jinja", "chat_template.json",
    "additional_chat_templates/*.jinja",
)  # fmt: skip


@functools.cache
def content_digest(place: Path) -> str:
    """Return the digest of a model's one file, or of those that matter in its folder; read once in a process."""
    return file_digest(place) if place.is_file() else tree_digest(place, file_names(place))


def file_names(folder: Path) -> list[str]:
    """Return the names of the files that matter in a model folder, sorted."""
    return sorted({str(p.relative_to(folder)) for pattern in PATTERNS for p in folder.glob(pattern) if p.is_file()})
