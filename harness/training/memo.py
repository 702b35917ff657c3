"""What the reference model said of an example, kept for as long as the example is the same.

A value is found by the content it was computed from (example id, token ids, settings), so a stale one cannot be used:
on-policy completions simply never repeat. The oldest values give way when there are too many. What is kept is part of a
resumable state, since a value computed again in another batch may differ in its last bit.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from harness.api import Completions

#: Where a resumable state keeps the memos.
FILE = "memo.safetensors"
#: Numbers kept: 128 MB of float32.
LIMIT = 1 << 25


class Memo:
    """Tensors by key, oldest first."""

    def __init__(self, limit: int = LIMIT) -> None:
        """Keep at most ``limit`` numbers."""
        self._limit = limit
        self._known: dict[str, Tensor] = {}
        self._size = 0

    def __len__(self) -> int:
        """Return how many values are kept."""
        return len(self._known)

    def look_up(self, keys: Sequence[str], compute: Callable[[list[int]], Sequence[Tensor]]) -> list[Tensor]:
        """Return a value for each key; ``compute`` gives those of the places whose key is not known."""
        missing = [place for place, key in enumerate(keys) if key not in self._known]
        values = {key: self._known[key] for key in keys if key in self._known}
        if missing:
            for place, value in zip(missing, compute(missing), strict=True):
                values[keys[place]] = value
                self._keep(keys[place], value)
        return [values[key] for key in keys]

    def content(self) -> dict[str, Tensor]:
        """Return all values, oldest first."""
        return dict(self._known)

    def load(self, path: Path, rank: int) -> None:
        """Take back what :func:`save` wrote for a rank."""
        for name, value in sorted(load_file(path).items()):
            owner, _, key = name.split(".")
            if int(owner) == rank:
                self._keep(key, value)

    def _keep(self, key: str, value: Tensor) -> None:
        if key not in self._known:
            self._known[key] = value
            self._size += value.numel()
        while self._size > self._limit and len(self._known) > 1:
            self._size -= self._known.pop(next(iter(self._known))).numel()


def save(memos: Sequence[Mapping[str, Tensor]], path: Path) -> None:
    """Write the content of each rank's memo as safetensors, with rank, age and key in the names."""
    save_file(
        {
            f"{rank}.{age:08d}.{key}": value.contiguous()
            for rank, content in enumerate(memos)
            for age, (key, value) in enumerate(content.items())
        },
        path,
    )


def keys(ids: Sequence[str], settings: object, completions: Completions | None = None) -> Iterator[str]:
    """Return a key for each example: of its id, of ``settings``, and of its completions if given."""
    for place, name in enumerate(ids):
        state = blake2b(f"{name}\x00{settings!r}".encode("utf-8", "surrogatepass"), digest_size=16)
        if completions is not None:
            lengths = completions.lengths[place].tolist()
            state.update(f"\x00{lengths}".encode())
            for row, length in zip(completions.ids[place].cpu().numpy(), lengths, strict=True):
                state.update(row[:length].tobytes())
        yield state.hexdigest()


def widen(values: Sequence[Tensor], width: int) -> Tensor:
    """Stack (K, T_i) values into (B, K, width), 0 at the right end."""
    return torch.stack([torch.nn.functional.pad(value, (0, width - value.shape[1])) for value in values])
