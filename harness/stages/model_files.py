"""The content of a model's folder: the files in it that can change a result, and their digest."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from harness.store.identity import tree_digest

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
def content_digest(folder: Path) -> str:
    """Return the digest of the files that matter in a model folder; each folder is read once in a process."""
    return tree_digest(folder, file_names(folder))


def file_names(folder: Path) -> list[str]:
    """Return the names of the files that matter in a model folder, sorted."""
    return sorted({str(p.relative_to(folder)) for pattern in PATTERNS for p in folder.glob(pattern) if p.is_file()})
