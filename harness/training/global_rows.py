"""Rows of the global batch, of which each rank holds a contiguous part: in another order, or one in another's place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from harness.api import Completions
from harness.errors import PluginError
from harness.training.budget import count_rows, take_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.training.distributed import Ranks


def shuffled(
    ranks: Ranks, rows: Mapping[str, Any], parts: int, generator: torch.Generator
) -> Iterator[Mapping[str, Any]]:
    """Yield this rank's rows of each part of one permutation of the global batch; it may have none of a part."""
    first, size, total = _place(ranks, rows)
    order = torch.randperm(total, generator=generator).tolist()
    for part in range(parts):
        chosen = order[part * total // parts : (part + 1) * total // parts]
        yield take_all(rows, [place - first for place in chosen if first <= place < first + size])


def rolled(ranks: Ranks, rows: Mapping[str, Any], shift: int) -> dict[str, Any]:
    """Return for each of this rank's rows the one ``shift`` places further on in the global batch, around its end.

    Raises:
        PluginError: values that cannot be put together from several ranks.
    """
    first, size, total = _place(ranks, rows)
    return take_all(gathered(ranks, rows), [(place + shift) % total for place in range(first, first + size)])


def gathered(ranks: Ranks, rows: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rows of the whole global batch, in its order.

    Raises:
        PluginError: values that cannot be put together from several ranks.
    """
    if ranks.world == 1:
        return dict(rows)
    everywhere = ranks.gather({name: _on_cpu(value) for name, value in rows.items()})
    return {name: _moved(_joined(name, [part[name] for part in everywhere]), value) for name, value in rows.items()}


def _place(ranks: Ranks, rows: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return the place of this rank's first row, how many it has, and how many there are."""
    size = count_rows(rows)
    sizes = ranks.gather(size)
    return sum(sizes[: ranks.rank]), size, sum(sizes)


def _joined(name: str, parts: Sequence[Any]) -> Any:
    first = parts[0]
    if isinstance(first, Completions):
        return Completions.cat(parts, along="prompts")
    if isinstance(first, torch.Tensor):
        if len({part.shape[1:] for part in parts}) > 1:
            shapes = [list(part.shape) for part in parts]
            raise PluginError(f"{name!r} has another shape on another rank", got=shapes, expected="equal but for B")
        return torch.cat(list(parts))
    if isinstance(first, (list, tuple)):
        return type(first)(item for part in parts for item in part)
    raise PluginError(
        f"{name!r} cannot be put together from several ranks",
        got=type(first).__name__,
        expected="a tensor, a list, a tuple or Completions",
    )


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Completions):
        return Completions(value.ids.cpu(), value.lengths.cpu(), value.finished.cpu())
    return value.detach().cpu() if isinstance(value, torch.Tensor) else value


def _moved(value: Any, like: Any) -> Any:
    if isinstance(value, Completions):
        device = like.ids.device
        return Completions(value.ids.to(device), value.lengths.to(device), value.finished.to(device))
    return value.to(like.device) if isinstance(value, torch.Tensor) else value
