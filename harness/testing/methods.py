"""The check of a method: what holds for every method, whatever it optimises."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

import torch

from harness.api import DivergedError, Pairs
from harness.testing.bench import STEPS, Outcome, Twins, awkward_reward, train_tiny
from harness.testing.registrations import broken, build, check_registration, random_numbers_untouched
from harness.testing.tiny import tiny_policy

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.api import Batch, Completions, Method, MethodRegistration, Prompts, Run, State

Padded = TypeVar("Padded", "Prompts", "Completions")

#: Largest difference of a weight between two ways to compute the same in float64.
TOLERANCE: Final = 1e-9

#: The checks that a method may be excused from, with what each says.
EXCUSABLE: Final = {
    "order": "the order of the rows in a batch does not matter",
    "ranks": "two processes with half the rows each give what one process gives",
    "micro": "the size of the micro-batches does not matter",
}


def check_method(
    registration: MethodRegistration,
    options: Mapping[str, Any] | None = None,
    *,
    excused: Mapping[str, str] | None = None,
) -> None:
    """Train a method on the tiny policy in several ways that must agree.

    It moves weights, and not at a learning rate of 0 (bit for bit); it gives the same when run again (bit for bit), and
    when interrupted and resumed (bit for bit); micro-batches, the order of the rows, garbage in the padding and the
    number of ranks change nothing (1e-9 in float64); it changes nothing in its batch and leaves global random numbers
    alone; absent and equal rewards are no error; what it logs is finite.

    Args:
        registration: the method.
        options: as a benchmark file would give them.
        excused: reasons by name for checks that cannot hold (see :data:`EXCUSABLE`): an objective that averages within
            batches of its own. Methods that call ``run.shuffle`` are excused from ``order`` and ``ranks`` anyway, since
            the permutation is one of places.
    """
    excused = dict(excused or {})
    if unknown := set(excused) - set(EXCUSABLE):
        raise ValueError(f"cannot be excused from {sorted(unknown)}; expected {sorted(EXCUSABLE)}")
    check_registration(registration)
    bench = _Bench(registration, options)
    plain = bench.run(_Watched)
    start = {name: weight.detach() for name, weight in tiny_policy().model.named_parameters()}
    if all(torch.equal(plain.weights[name], start[name]) for name in start):
        broken(registration, f"{STEPS} steps moved no weight")
    bench.same("a learning rate of 0 moves weights", Outcome(start, []), bench.run(learning_rate=0.0), exactly=True)
    resumed = train_tiny(bench.build(), interrupted=bench.build)
    if bench.distance(plain, resumed)[0]:
        bench.same("run again it gives other weights", plain, bench.run(), exactly=True)
        bench.same("resumed after an interruption it gives other weights", plain, resumed, exactly=True)
    bench.same("garbage in the padding changes the weights", plain, bench.run(_Garbage))
    if bench.shuffles:
        excused |= dict.fromkeys(("order", "ranks"), "it calls run.shuffle")
    if "micro" not in excused:
        bench.same("smaller micro-batches change the weights", plain, bench.run(tokens=1))
    if "order" not in excused:
        bench.same("the order of the rows changes the weights", plain, bench.run(_Reversed))
    if "ranks" not in excused:
        what = "two ranks do not give what one rank gives (is something divided by what one rank holds?)"
        bench.same(what, bench.run(_Doubled), bench.run(ranks=Twins()))
    try:
        bench.run(reward=awkward_reward, steps=3)
    except DivergedError as error:
        broken(registration, f"absent or equal rewards are too much for it: {error}")


class _Bench:
    def __init__(self, registration: MethodRegistration, options: Mapping[str, Any] | None) -> None:
        self.registration = registration
        self.options = options
        self.shuffles = False

    def build(self) -> Method:
        method: Method = build(self.registration, self.options)
        return method

    def run(self, around: Callable[[_Bench, Method], Method] | None = None, **settings: Any) -> Outcome:
        method = self.build()
        return train_tiny(method if around is None else around(self, method), **settings)

    def distance(self, one: Outcome, other: Outcome) -> tuple[float, str]:
        """Return the largest difference of a weight, and its name."""
        return max((float((weight - other.weights[name]).abs().max()), name) for name, weight in one.weights.items())

    def same(self, what: str, one: Outcome, other: Outcome, *, exactly: bool = False) -> None:
        distance, name = self.distance(one, other)
        if not (distance == 0.0 if exactly else distance <= TOLERANCE):
            broken(self.registration, f"{what}: {name} differs by {distance:.3g}")


class _Wrapped:
    """A method that does what another does, to a batch changed on the way."""

    def __init__(self, bench: _Bench, inner: Method) -> None:
        self.bench = bench
        self.inner = inner

    def setup(self, run: Run) -> None:
        self.inner.setup(run)

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        return self.inner.step(run, self.changed(run, batch))

    def changed(self, run: Run, batch: Batch) -> Batch:  # noqa: ARG002  # for subclasses
        return batch

    def state_dict(self) -> Mapping[str, State]:
        return self.inner.state_dict()

    def load_state_dict(self, state: Mapping[str, State]) -> None:
        self.inner.load_state_dict(state)


class _Watched(_Wrapped):
    """Sees what a step does besides its work."""

    def setup(self, run: Run) -> None:
        with random_numbers_untouched(self.bench.registration, "setup()"):
            self.inner.setup(run)

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        kept = copy.deepcopy(batch)
        with random_numbers_untouched(self.bench.registration, "step()"):
            said = self.inner.step(_Counting(run, self.bench), batch)
        if not _equal(batch, kept):
            broken(self.bench.registration, "step() changed its batch")
        if not isinstance(said, Mapping):
            broken(self.bench.registration, f"step() must return numbers by name, and returned {type(said).__name__}")
        for name, value in said.items():
            if not isinstance(name, str) or not isinstance(value, (int, float)) or not math.isfinite(value):
                broken(self.bench.registration, f"step() returned {name!r}: {value!r}, which is no finite number")
        return said


class _Counting:
    """A run that remembers whether the method shuffled."""

    def __init__(self, run: Run, bench: _Bench) -> None:
        self._run = run
        self._bench = bench

    def __getattr__(self, name: str) -> Any:
        if name == "shuffle":
            self._bench.shuffles = True
        return getattr(self._run, name)


class _Garbage(_Wrapped):
    def changed(self, run: Run, batch: Batch) -> Batch:
        size = run.policy.vocab_size
        batch = replace(batch, prompts=_spoilt(batch.prompts, size), demonstrations=_spoilt(batch.demonstrations, size))
        if batch.pairs is None:
            return batch
        return replace(batch, pairs=Pairs(_spoilt(batch.pairs.chosen, size), _spoilt(batch.pairs.rejected, size)))


class _Reversed(_Wrapped):
    def changed(self, run: Run, batch: Batch) -> Batch:  # noqa: ARG002  # as above
        return batch[list(reversed(range(len(batch))))]


class _Doubled(_Wrapped):
    def changed(self, run: Run, batch: Batch) -> Batch:  # noqa: ARG002  # as above
        return batch[[*range(len(batch)), *range(len(batch))]]


def _spoilt(padded: Padded, size: int) -> Padded:
    """Return the same rows with three more columns of padding and random ids in all of it."""
    ids = torch.nn.functional.pad(padded.ids, (0, 3))
    noise = torch.randint(size, ids.shape, generator=torch.Generator().manual_seed(0))
    real = torch.arange(ids.shape[-1]) < padded.lengths[..., None]
    return replace(padded, ids=torch.where(real, ids, noise))


def _equal(one: Any, other: Any) -> bool:
    """Compare values that hold tensors."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if is_dataclass(one):
        return all(_equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(_equal(one[key], other[key]) for key in one)
    return bool(one == other)
