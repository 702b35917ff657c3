"""Log-probs of the data's own answers under the reference model, computed once by a stage and read by others.

A value is found by what it was computed from, the token ids of the prompt and of the answer, so values of another
template, truncation or tokenizer are never taken for those asked for. The file holds three tensors: ``keys`` (N, 16)
uint8, ``lengths`` (N,) int64 and ``values`` (sum of the lengths,), the log-probs of all N answers' tokens in a row.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from harness.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from harness.api import Completions, Prompts
    from harness.spec.results.train import ReferenceCost
    from harness.text.encode import EncodedRow

_KEY_BYTES = 16


def answer_key(prompt: NDArray[Any], answer: NDArray[Any]) -> bytes:
    """Return what an answer's values are found by: a digest of the token ids of prompt (P,) and answer (T,)."""
    state = blake2b(f"{len(prompt)}\x00".encode(), digest_size=_KEY_BYTES)
    state.update(np.ascontiguousarray(prompt, dtype=np.int64).tobytes())
    state.update(np.ascontiguousarray(answer, dtype=np.int64).tobytes())
    return state.digest()


def row_keys(row: EncodedRow) -> list[bytes]:
    """Return the keys of a row's chosen and rejected answer, as far as it has them."""
    return [answer_key(row.prompt, answer.ids) for answer in (row.chosen, row.rejected) if answer is not None]


def group_keys(prompts: Prompts, completions: Completions) -> Iterator[list[bytes | None]]:
    """Yield the keys of each prompt's K completions; None for one that is absent."""
    starts, groups = prompts.ids.cpu().numpy(), completions.ids.cpu().numpy()
    widths = prompts.lengths.tolist()
    for start, width, group, lengths in zip(starts, widths, groups, completions.lengths.tolist(), strict=True):
        yield [answer_key(start[:width], ids[:n]) if n else None for ids, n in zip(group, lengths, strict=True)]


def save(log_probs: Mapping[bytes, Tensor], path: Path) -> None:
    """Write the values (T_i,) of each key."""
    values = [value.detach().cpu() for value in log_probs.values()]
    keys = np.frombuffer(b"".join(log_probs), dtype=np.uint8).reshape(-1, _KEY_BYTES)
    tensors = {
        "keys": torch.from_numpy(keys.copy()),
        "lengths": torch.tensor([len(value) for value in values]),
        "values": torch.cat(values),
    }
    save_file(tensors, path)


class StoredLogProbs:
    """Values by key, in memory."""

    def __init__(self, log_probs: Mapping[bytes, Tensor]) -> None:
        """Take values (T_i,) by the key of their answer."""
        self._known = log_probs
        self._digest = self._content()

    @classmethod
    def load(cls, path: Path, rows: Iterable[EncodedRow]) -> StoredLogProbs:
        """Read the values of some rows' answers, and of no others.

        Raises:
            StageError: the file cannot be read, or lacks an answer.
        """
        try:
            with safe_open(path, framework="pt") as file:
                keys = file.get_tensor("keys").numpy()
                lengths = file.get_tensor("lengths").tolist()
                ends = np.cumsum(lengths).tolist()
                values = file.get_slice("values")
                places = {key.tobytes(): place for place, key in enumerate(keys)}
                log_probs: dict[bytes, Tensor] = {}
                for row in rows:
                    for key in row_keys(row):
                        if key not in places:
                            raise StageError(
                                f"no reference log-probs are stored for the answers of row {row.id}",
                                where=str(path),
                                expected="those of the same rows, tokenised and cut in the same way",
                            )
                        end = ends[places[key]]
                        log_probs[key] = values[end - lengths[places[key]] : end].clone()
        except (OSError, SafetensorError) as error:
            raise StageError(f"cannot be read: {error}", where=str(path)) from error
        return cls(log_probs)

    def __len__(self) -> int:
        """Return how many answers have values."""
        return len(self._known)

    def find(self, prompts: Prompts, completions: Completions) -> Tensor | None:
        """Return the values of a whole group for each prompt, (B, K, T), 0 outside; None where any is not stored."""
        keys = [key for group in group_keys(prompts, completions) for key in group]
        if any(key is not None and key not in self._known for key in keys):
            return None
        dtype = next(iter(self._known.values())).dtype if self._known else torch.float32
        grid = torch.zeros(completions.ids.shape, dtype=dtype)
        flat = grid.view(-1, completions.ids.shape[2])
        for place, key in enumerate(keys):
            if key is not None:
                flat[place, : len(self._known[key])] = self._known[key]
        return grid.to(completions.ids.device)

    def unchanged(self) -> bool:
        """Return whether every value is what it was when it was read."""
        return self._content() == self._digest

    def _content(self) -> str:
        state = hashlib.sha256()
        for key, value in self._known.items():
            state.update(key)
            state.update(value.numpy().tobytes())
        return state.hexdigest()


@dataclass(frozen=True)
class Precomputed:
    """What a stage computed beforehand under the reference model."""

    path: Path
    weights_sha256: str
    """Of the reference model, when the values were computed."""
    cost: ReferenceCost
    """Of that stage, for the summary."""

    def load(self, rows: Sequence[EncodedRow]) -> StoredLogProbs:
        """Read the values of some rows."""
        return StoredLogProbs.load(self.path, rows)
