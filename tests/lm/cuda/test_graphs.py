"""The order in which graphs are captured, and what decoding makes of them, with stand-ins for what only CUDA has."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import pytest
import torch
from lm.architectures import InFloat64, make
from lm.cuda.test_static import LENGTHS, assert_equal, steps
from lm.ragged import some_prompts

from harness.lm.cuda import static
from harness.lm.cuda.graphs import capture
from harness.lm.cuda.static import StaticPrefix
from harness.lm.decode.copied import Copied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from harness.text.tokenise import Tokeniser


class Stream:
    def wait_stream(self, other: Stream) -> None:
        pass

    def synchronize(self) -> None:
        pass


def test_the_largest_bucket_is_captured_first_and_all_in_one_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []
    open_graphs: list[object] = []

    @contextmanager
    def graph(made: object, *, pool: str, stream: Stream, capture_error_mode: str) -> Iterator[None]:
        open_graphs.append(made)
        done.append((pool, capture_error_mode))
        yield
        open_graphs.pop()

    given: dict[str, Any] = {
        "device": lambda _: nullcontext(),
        "Stream": Stream,
        "current_stream": Stream,
        "stream": lambda _: nullcontext(),
        "graph_pool_handle": lambda: "pool",
        "CUDAGraph": object,
        "graph": graph,
    }
    for name, value in given.items():
        monkeypatch.setattr(torch.cuda, name, value)

    def step(size: int) -> None:
        assert open_graphs
        done.append(size)

    def warm_up(size: int) -> None:
        assert not open_graphs  # what is done inside is not done, but noted
        done.append(-size)

    graphs = capture(step, (1, 2, 4), torch.device("cuda"), warm_up=warm_up)
    assert sorted(graphs) == [1, 2, 4]
    assert len(set(map(id, graphs.values()))) == 3
    said = ("pool", "thread_local")
    assert done == [-4, -4, -2, -2, -1, -1, said, 4, said, 2, said, 1]


class Replayed:
    """Does again what was captured: its step, whatever decoder captured it."""

    count = 0

    def __init__(self, step: Callable[[int], None], size: int) -> None:
        self._step, self._size = step, size

    def replay(self) -> None:
        Replayed.count += 1
        self._step(self._size)


def some_graphs(
    step: Callable[[int], None], sizes: Iterable[int], device: object, *, warm_up: Callable[[int], None]
) -> dict[int, Any]:
    found = {}
    for size in sorted(sizes, reverse=True):
        warm_up(size)
        warm_up(size)
        found[size] = Replayed(step, size)
    return found


@pytest.mark.parametrize("kind", ["gpt2", "gemma2"])
def test_decoding_by_graphs_is_decoding(tokeniser: Tokeniser, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Warm-ups leave nothing behind, graphs are captured once, and each step is one of them."""
    monkeypatch.setattr(static, "CAPTURED", {"cpu"})
    monkeypatch.setattr(static, "capture", some_graphs)
    policy = make(kind, tokeniser)
    prompts = some_prompts(policy, LENGTHS)
    given = (policy, prompts.ids, prompts.lengths, 3)
    Replayed.count = 0
    with torch.inference_mode(), InFloat64():
        expected = steps(policy, Copied(*given))
        first = StaticPrefix(*given, 10)
        assert_equal(steps(policy, first), expected)
        again = StaticPrefix(*given, 10)
        assert again._cache is first._cache
        assert_equal(steps(policy, again), expected)
    assert Replayed.count == 2 * 10
    with torch.no_grad(), torch.inference_mode():
        weight: Any = next(policy.model.parameters())
        weight.data = weight.data.clone()  # at another place, where the graphs would not find it
        assert StaticPrefix(*given, 10)._cache is not first._cache
