"""The ranks of one training run: what they hold, what they sum, and how they stop together.

Weights are the same on every rank; each rank has a contiguous part of every global batch. Gradients are summed once a
step, after the last micro-batch, instead of by hooks inside backward: so ranks may have different numbers of
micro-batches, a forward outside the wrapped module loses nothing, and a rank that runs out of memory in a backward
leaves no other rank waiting (docs/adr/gradients-are-summed-once.md).

Before they exchange anything the ranks tell each other whether all is well. A rank that failed says so at that point
and the others raise too, at the same step, before any weight moves; nobody waits for a time-out.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch

from harness.errors import HarnessError, InputError, MachineError, StageError
from harness.training.shares import Outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from torch import Tensor, nn

#: How long ranks wait for one another unless told otherwise.
PATIENCE = timedelta(minutes=30)


class Ranks:
    """All the processes of a run, seen from one of them. Built plainly it is a run of one process."""

    rank: int = 0
    world: int = 1
    device: torch.device | None = None
    """Where this rank computes, if that is not for its policy to say."""
    in_vain: str = "out of memory, and smaller micro-batches do not help here"
    """Why training ends where memory runs out."""
    divided: bool = False
    """Whether a rank holds a part of the weights alone (:mod:`harness.training.sharding`), so that no rank can compute
    without the others. The methods from :meth:`divide` on are for that; here they have nothing to do."""

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def part(self, size: int) -> slice:
        """Return this rank's contiguous share of ``size`` rows."""
        return slice(self.rank * size // self.world, (self.rank + 1) * size // self.world)

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum over all ranks, without gradient."""
        return tensor.detach().clone()

    def gather(self, value: Any) -> list[Any]:
        """Return every rank's value, in the order of the ranks."""
        return [value]

    def worst(self, flag: int) -> int:
        """Return the largest flag of any rank."""
        return flag

    def fail(self, error: BaseException) -> None:
        """Tell the other ranks that this one cannot go on, so that they stop too."""

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its sum over all ranks."""

    def divide(self, module: nn.Module) -> None:
        """Leave a part of the weights of ``module`` on each rank: what scores with a policy's model, or a critic."""

    def together(self) -> AbstractContextManager[None]:
        """Return a context in which ranks ask models as often as each has to; it is left by all at once."""
        return contextlib.nullcontext()

    def for_all(self, work: Callable[[], None]) -> Callable[[], None]:
        """Return what lets all ranks do ``work`` as soon as one of them calls it, :meth:`together`."""
        return work

    def even(self, parts: list[list[int]]) -> list[list[int]]:
        """Return this rank's parts of a step's rows, empty ones added where other ranks have more."""
        return parts

    def outputs(self) -> Outputs:
        """Return what a loss's outputs are noted in."""
        return Outputs()

    def any(self, flag: bool) -> bool:  # noqa: FBT001  # one argument
        """Return whether a flag is set on any rank that must not go on without this one."""
        return flag

    def moved(self, shares: Mapping[str, bool]) -> Mapping[str, bool]:
        """Return which shares of a loss moved, those of all ranks that must not go on without this one."""
        return shares


class ManyRanks(Ranks):
    """A run of several processes, over accelerate's process group."""

    device: torch.device

    def __init__(self, world: int, device: torch.device, patience: timedelta) -> None:
        """Join the run whose processes a launcher (``torchrun``) started; they wait so long for one another.

        Raises:
            MachineError: the launcher started another number of processes than asked for.
        """
        from accelerate import PartialState  # type: ignore[import-untyped]  # it has no types

        self._state = PartialState(cpu=device.type == "cpu", timeout=patience)
        self.rank = self._state.process_index
        self.world = self._state.num_processes
        self.device: torch.device = self._state.device
        if self.world != world:
            raise MachineError(
                "the launcher started another number of processes than the run asks for",
                got=self.world,
                expected=f"{world} (torchrun --nproc-per-node {world})",
            )

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum over all ranks, without gradient."""
        from accelerate.utils import reduce  # type: ignore[import-untyped]  # it has no types

        self._check()
        with _alive():
            total: Tensor = reduce(tensor.detach().to(self.device), "sum")
        return total.to(tensor.device)

    def gather(self, value: Any) -> list[Any]:
        """Return every rank's value, in the order of the ranks."""
        self._check()
        return self._exchange(value)

    def worst(self, flag: int) -> int:
        """Return the largest flag of any rank."""
        return self._agree(flag)[0]

    def fail(self, error: BaseException) -> None:
        """Tell the other ranks that this one cannot go on, so that they stop too."""
        self._largest(1, 0, 0)
        self._exchange(error if isinstance(error, HarnessError) else StageError(f"{type(error).__name__}: {error}"))

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its sum over all ranks; one that no rank has stays None."""
        listed = list(parameters)
        have = self.sum(torch.tensor([float(p.grad is not None) for p in listed])).tolist()
        members = [p for p, count in zip(listed, have, strict=True) if count]
        for _, same in itertools.groupby(sorted(members, key=lambda p: str(p.dtype)), key=lambda p: p.dtype):
            group = list(same)
            grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in group]
            flat = self.sum(torch.cat([grad.reshape(-1) for grad in grads]))
            for parameter, summed in zip(group, torch.split(flat, [p.numel() for p in group]), strict=True):
                parameter.grad = summed.view_as(parameter)

    def _check(self) -> None:
        self._agree()

    def _agree(self, flag: int = 0, other: int = 0) -> tuple[int, int]:
        """Return the largest of each flag, unless a rank failed: then raise what it raised."""
        failed, largest, largest_other = self._largest(0, flag, other)
        if not failed:
            return largest, largest_other
        errors = [error for error in self._exchange(None) if error is not None]
        raise Relayed(errors[0]) from errors[0]

    def _largest(self, *numbers: int) -> list[int]:
        from accelerate.utils import reduce

        with _alive():
            largest: list[int] = reduce(torch.tensor(numbers, device=self.device), "max").tolist()
            return largest

    def _exchange(self, value: Any) -> list[Any]:
        from accelerate.utils import gather_object

        with _alive():
            values: list[Any] = gather_object([value])
            return values


@contextlib.contextmanager
def _alive() -> Iterator[None]:
    """Say in one line that a process died or does not answer, which the group reports as it sees it."""
    try:
        yield
    except RuntimeError as error:  # torch.distributed's errors are RuntimeErrors
        if "timed out" in str(error).lower():
            raise MachineError(
                f"another process of this run did not answer in time: {str(error).splitlines()[0]}",
                where="execution.rank_timeout_minutes",
                hint="run again to go on",
            ) from error
        raise MachineError(
            f"another process of this run is gone: {str(error).splitlines()[0]}", hint="run again to go on"
        ) from error


class Relayed(Exception):
    """Another rank failed; ``error`` is what it raised. It never leaves the loop: :func:`stop_together` unwraps it."""

    def __init__(self, error: HarnessError) -> None:
        """Keep the other rank's error."""
        super().__init__(str(error))
        self.error = error


@contextlib.contextmanager
def stop_together(ranks: Ranks) -> Iterator[None]:
    """Whatever ends the block on one rank ends it on all, with the same error."""
    try:
        yield
        ranks.worst(0)
    except Relayed as relayed:
        raise relayed.error from None
    except BaseException as error:
        with contextlib.suppress(MachineError):  # the others are gone; what happened here is what counts
            ranks.fail(error)
        raise


def join(world: int, device: torch.device, patience: timedelta = PATIENCE) -> Ranks:
    """Return this process's place among ``world`` processes; alone when that is 1.

    Who has waited for another process for ``patience`` raises MachineError.
    """
    return ManyRanks(world, device, patience) if world > 1 else Ranks()


def launched() -> bool:
    """Return whether a launcher started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def check_batch(batch_size: int, ranks: Ranks) -> None:
    """Raise InputError where a rank would have no prompt of a step."""
    if batch_size < ranks.world:
        what, most = "there are more processes than prompts in a step", f"at most {batch_size}"
        raise InputError(what, where="--processes", got=ranks.world, expected=most)


def equal_everywhere(ranks: Ranks, value: Any, what: str) -> None:
    """Raise StageError unless all ranks have the same value."""
    values: Sequence[Any] = ranks.gather(value)
    if any(other != values[0] for other in values):
        raise StageError(f"the ranks disagree on {what}", got=values)
