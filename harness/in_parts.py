"""Work that is cut so that memory holds it: one batcher for training, decoding, scoring, probes and judges.

How much memory a forward takes is guessed before and found out while it runs. When memory runs out, what was being
worked on is cut into halves, and so is whatever comes later. A cut changes memory and speed, and nothing else but
rounding and, where dropout is on, which units are dropped: those are drawn for all rows of a part together.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import torch

from harness.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Result = TypeVar("Result")
Done = TypeVar("Done")

#: Called with what a part is computed from, as plain JSON, and what computes it; returns the part's values, plain JSON
#: too: those that it knows from an interrupted computation, or those that it lets compute, and may keep.
Keep: TypeAlias = Callable[[Any, Callable[[], Any]], Any]

#: A budget that nothing exceeds, until memory has run out.
UNLIMITED = 1 << 62


def at_once(key: Any, compute: Callable[[], Any]) -> Any:  # noqa: ARG001  # nothing is looked up
    """Compute, and keep nothing."""
    return compute()


class SingleRowError(MachineError):
    """Memory does not hold a single row. Where the work is part of other work, that may still be cut."""


def out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that memory ran out, on a GPU or on the CPU."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError, SingleRowError)):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate memory" in str(error)


def cut(costs: Sequence[int], budget: int) -> list[list[int]]:
    """Cut rows into parts whose padded size (rows times the longest of them) is at most ``budget``, or single rows.

    Rows of like length go together, so that little is padding; within a part they keep their order.
    """
    if len(costs) * max(costs, default=0) <= budget:
        return [list(range(len(costs)))] if costs else []
    parts: list[list[int]] = []
    longest = 0
    for row in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        if parts and (len(parts[-1]) + 1) * longest <= budget:
            parts[-1].append(row)
        else:
            parts.append([row])
            longest = costs[row]
    return [sorted(part) for part in parts]


#: Called where memory has run out: each gives back what is held to save time alone.
RELEASES: list[Callable[[], None]] = []


def free_memory() -> None:
    """Give back what failed work has left; to be called when its exception is gone, whose frames hold tensors."""
    for release in RELEASES:
        release()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def random_state() -> Callable[[], None]:
    """Return a function that puts torch's generators back to where they are now."""
    host = torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if cast("Any", torch.cuda).is_initialized() else []

    def rewind() -> None:
        torch.set_rng_state(host)
        if gpus:
            torch.cuda.set_rng_state_all(gpus)

    return rewind


class Batcher:
    """Cuts work of one kind into parts that memory holds, and learns how large they may be."""

    def __init__(self, budget: int = UNLIMITED, *, doing: str, unit: str = "tokens", hint: str | None = None) -> None:
        """Begin with parts of at most ``budget``.

        Args:
            budget: the largest padded size of a part (see :func:`cut`).
            doing: what the work is, for messages: "out of memory while ...".
            unit: what a cost counts.
            hint: what to do when a single row is too large.
        """
        self.budget = budget
        self.halvings = 0
        """How often memory ran out and the budget was halved."""
        self.doing = doing
        """What the work is, for messages."""
        self._unit = unit
        self._hint = hint

    def cut(self, costs: Sequence[int]) -> list[list[int]]:
        """Return the parts, as indices of ``costs``, that fit by what is known now."""
        return cut(costs, self.budget)

    def run(self, costs: Sequence[int], work: Callable[[list[int]], Sequence[Result]]) -> list[Result]:
        """Work on rows part by part.

        Memory that runs out costs the part that was being worked on, no other: nothing that is done is done again.
        What is tried again draws from torch's generators where the failed attempt began: what is drawn depends on the
        seed and on the parts that came of it, not on how far an attempt came.

        Args:
            costs: of each row.
            work: called with the indices of some rows; returns a result for each.

        Returns:
            a result for each row, in their order.

        Raises:
            SingleRowError: memory runs out for a single row.
        """
        results: dict[int, Result] = {}
        for part, some in self.parts(costs, work):
            results.update(zip(part, some, strict=True))
        return [results[row] for row in range(len(costs))]

    def parts(self, costs: Sequence[int], work: Callable[[list[int]], Done]) -> Iterator[tuple[list[int], Done]]:
        """Yield each part with what ``work`` makes of it; the arguments are those of :meth:`run`."""
        before = self.budget, self.halvings
        waiting = self.cut(costs)
        while waiting:
            part = waiting[0]
            rewind = random_state()
            try:
                done = work(part)
            except Exception as error:
                if not out_of_memory(error):
                    raise
            else:
                yield part, done
                del done  # nothing is held here while the next part is worked on
                waiting = waiting[1:]
                continue
            free_memory()  # here, and not in the handler, the error's frames no longer hold the tensors
            rewind()
            alone = len(part) == 1
            if alone:
                self.budget, self.halvings = before  # how many rows fit is not learnt from one that does not
            self.halve([[costs[row] for row in part]], hopeless=alone)
            left = sorted(row for other in waiting for row in other)
            waiting = [[left[i] for i in other] for other in self.cut([costs[row] for row in left])]

    def kept(
        self,
        costs: Sequence[int],
        work: Callable[[list[int]], Sequence[Result]],
        *,
        keep: Keep,
        key: Callable[[list[int]], Any],
    ) -> Iterator[tuple[list[int], Sequence[Result]]]:
        """Yield the parts, each with a result for each of its rows: those that are kept, or new ones.

        Args:
            costs: of each row.
            work: as in :meth:`run`; its results are plain JSON.
            keep: gives the results of a part that it knows, and keeps the others.
            key: what the results of some rows are computed from, as plain JSON.
        """
        for part in self.cut(costs):
            yield part, keep(key(part), partial(self._run_some, costs, part, work))

    def _run_some(
        self, costs: Sequence[int], some: list[int], work: Callable[[list[int]], Sequence[Result]]
    ) -> list[Result]:
        return self.run([costs[row] for row in some], lambda part: work([some[place] for place in part]))

    def halve(self, tried: Sequence[Sequence[int]], *, hopeless: bool) -> None:
        """Halve the budget.

        Args:
            tried: the costs of the rows of each part, of which one at least was too large.
            hopeless: whether that was a single row.

        Raises:
            SingleRowError: there is no hope.
        """
        if hopeless:
            raise SingleRowError(
                f"out of memory while {self.doing}, with one row at a time",
                got=f"{max((max(part) for part in tried), default=0)} {self._unit}",
                hint=self._hint,
            )
        # half of what was tried, which is less than the budget where all rows fitted into it
        largest = max((len(part) * max(part) for part in tried), default=self.budget)
        self.budget = max(1, min(self.budget, largest) // 2)
        self.halvings += 1


def decoding_costs(prompts: Iterable[int], group: int, max_new_tokens: int) -> list[int]:
    """Return what prompts of so many tokens cost, in tokens that ``group`` completions of each may come to hold."""
    return [group * (length + max_new_tokens) for length in prompts]


def decoding_batcher(tokens: int = UNLIMITED) -> Batcher:
    """Return a batcher for decoding, of at most so many ``tokens`` at a time (see :func:`decoding_costs`)."""
    hint = "shorten max_completion_length (or generate_length), or draw fewer candidates"
    return Batcher(tokens, doing="decoding", hint=hint)
