"""The check of a method: what holds for every method, whatever it optimises."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import torch

from harness.api import DivergedError, HarnessError
from harness.plugins.reading import UndeclaredError
from harness.testing.bench import STEPS, TinyRun, Twins, awkward_reward, signed_reward, train_tiny
from harness.testing.registrations import broken, build, check_registration, random_numbers_untouched, registry_of
from harness.testing.rules import rule
from harness.testing.runs import (
    Around,
    FirstAbsent,
    FirstFilled,
    FirstUndrawn,
    Habits,
    SpoiltPadding,
    Swapped,
    Watching,
    spoilt_batch,
)
from harness.testing.tiny import tiny_policy
from harness.training.declared import DeclaredMethod

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.api import Batch, Method, MethodRegistration, Run, State

#: Largest difference of a weight between two ways to compute the same in float64.
TOLERANCE: Final = 1e-9

#: The checks that a method may be excused from, with what each says.
EXCUSABLE: Final = {
    "order": "the order of the rows in a batch does not matter",
    "ranks": "two processes with half the rows each give what one process gives",
    "micro": "the size of the micro-batches does not matter",
    "candidates": "the order of candidates that were drawn alike does not matter",
    "dropout": "log-probs that are compared with are taken without dropout",
    "absent": "an answer without a reward counts as if it had never been drawn",
}

#: Largest difference, relative to 1 and more, of a logged number between two ways to compute the same.
LOG_TOLERANCE: Final = 1e-6


def check_method(
    registration: MethodRegistration,
    options: Mapping[str, Any] | None = None,
    *,
    excused: Mapping[str, str] | None = None,
) -> None:
    """Train a method on the tiny policy in several ways that must agree.

    It moves weights, and not at a learning rate of 0 (bit for bit); it gives the same when run again (bit for bit), and
    when interrupted and resumed (bit for bit); micro-batches, the order of the rows, garbage in the padding and the
    number of ranks change neither weights (1e-9 in float64) nor what it logs; nor does the order of candidates drawn
    alike. An answer without a reward counts as if it had never been drawn, and absent and equal rewards are not errors.
    It uses nothing that its registration does not declare, takes log-probs outside a loss without dropout, changes
    nothing in its batch and leaves global random numbers alone; what it logs is finite.

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
    with rule("it trains, moves weights, logs finite numbers, and uses nothing that it does not declare"):
        plain = bench.run(_Watched)
        habits = bench.habits
        start = {name: weight.detach() for name, weight in tiny_policy().model.named_parameters()}
        if all(torch.equal(plain.weights[name], start[name]) for name in start):
            broken(registration, f"{STEPS} steps moved no weight")
    if "dropout" not in excused:
        with rule(EXCUSABLE["dropout"]):
            if habits.noisy:
                what = f"it takes {habits.noisy} with dropout on where no gradient is taken: what is compared with is"
                broken(registration, f"{what} then noise; give dropout=False")
    with rule("a learning rate of 0 moves nothing, to the last bit"):
        bench.same("a learning rate of 0 moves weights", TinyRun(start, []), bench.run(learning_rate=0.0), exactly=True)
    with rule("run again, and resumed after an interruption, it gives the same, to the last bit"):
        resumed = bench.resumed()
        if bench.distance(plain, resumed)[0]:
            bench.same("run again it gives other weights", plain, bench.run(), exactly=True)
            bench.same("resumed after an interruption it gives other weights", plain, resumed, exactly=True)
    with rule("garbage in the padding changes nothing"):
        bench.alike("garbage in the padding", plain, bench.run(_Garbage))
    if habits.shuffles:
        excused |= dict.fromkeys(("order", "ranks"), "it calls run.shuffle")
    if "micro" not in excused:
        with rule(EXCUSABLE["micro"]):
            bench.alike("smaller micro-batches", plain, bench.run(tokens=1))
    if "order" not in excused:
        with rule(EXCUSABLE["order"]):
            bench.alike("the order of the rows", plain, bench.run(_Reversed))
    if "ranks" not in excused:
        with rule(EXCUSABLE["ranks"]):
            what = "two ranks do not give what one rank gives (is something divided by what one rank holds?)"
            one, two = bench.run(_Doubled), bench.run(ranks=Twins())
            bench.same(what, one, two)
            bench.logs_alike("the number of ranks", one, two)
    if habits.alike and "candidates" not in excused:
        with rule(EXCUSABLE["candidates"]):
            what = "the order of candidates that were drawn alike changes the weights"
            bench.same(what, plain, bench.run(_within(Swapped)))
    with rule("absent and equal rewards are no errors"):
        try:
            bench.run(reward=awkward_reward, steps=3)
        except DivergedError as error:
            broken(registration, f"absent or equal rewards are too much for it: {error}")
    if habits.groups and "absent" not in excused:
        with rule(EXCUSABLE["absent"]):
            _check_absent(bench)


def _check_absent(bench: _Bench) -> None:
    """Compare a candidate without a reward with one that was never drawn.

    The number in the place of an absent reward is 0, so that a sum may leave it in. Only where it matters which number
    is there does the method read it, and what it makes of 0 is then compared with a group without the candidate.
    """
    absent, filled = (bench.run(_within(run), reward=signed_reward) for run in (FirstAbsent, FirstFilled))
    if bench.distance(absent, filled)[0] <= TOLERANCE:
        return
    try:
        undrawn = bench.run(_within(FirstUndrawn), reward=signed_reward)
    except (ArithmeticError, LookupError, RuntimeError, ValueError, HarnessError):
        return  # a method whose candidates have places of their own does without none of them
    what = "an absent reward is used as a reward of 0: a candidate without one changes the weights as none would"
    bench.same(f"{what} that was never drawn (use mean(), centred(), counts or present)", absent, undrawn)


class _Bench:
    def __init__(self, registration: MethodRegistration, options: Mapping[str, Any] | None) -> None:
        self.registration = registration
        self.options = options
        self.habits = Habits()
        registry = registry_of(registration)
        resolved: Any = registry.resolved("method", registration.name, options or {})
        self.needs = resolved.needs
        self.labelled = "labels" in self.needs

    def build(self) -> Method:
        method: Method = build(self.registration, self.options)
        return DeclaredMethod(method, self.needs, f"method {self.registration.name!r}")

    def run(self, around: Callable[[_Bench, Method], Method] | None = None, **settings: Any) -> TinyRun:
        method = self.build()
        try:
            return train_tiny(method if around is None else around(self, method), labelled=self.labelled, **settings)
        except UndeclaredError as error:
            broken(self.registration, f"{error.what}; expected {error.expected}")

    def resumed(self) -> TinyRun:
        return train_tiny(self.build(), interrupted=self.build, labelled=self.labelled)

    def distance(self, one: TinyRun, other: TinyRun) -> tuple[float, str]:
        """Return the largest difference of a weight, and its name."""
        return max((float((weight - other.weights[name]).abs().max()), name) for name, weight in one.weights.items())

    def same(self, what: str, one: TinyRun, other: TinyRun, *, exactly: bool = False) -> None:
        distance, name = self.distance(one, other)
        if not (distance == 0.0 if exactly else distance <= TOLERANCE):
            broken(self.registration, f"{what}: {name} differs by {distance:.3g}")

    def alike(self, what: str, one: TinyRun, other: TinyRun) -> None:
        """Raise where something changes the weights, or what the method logs."""
        self.same(f"{what} {'change' if what.endswith('es') else 'changes'} the weights", one, other)
        self.logs_alike(what, one, other)

    def logs_alike(self, what: str, one: TinyRun, other: TinyRun) -> None:
        for mine, theirs in zip(one.log, other.log, strict=True):
            first, second = mine.get("method", {}), theirs.get("method", {})
            for name in {**first, **second}:
                a, b = first.get(name), second.get(name)
                if a is None or b is None or abs(a - b) > LOG_TOLERANCE * max(1.0, abs(a)):
                    seen = f"{a} and {b} at step {mine['step']}"
                    broken(self.registration, f"{what} {'change' if what.endswith('es') else 'changes'} what it logs"
                           f" as {name!r}: {seen}")  # fmt: skip


class _Wrapped:
    """A method that does what another does, to a batch changed on the way."""

    def __init__(self, bench: _Bench, inner: Method) -> None:
        self.bench = bench
        self.inner = inner

    def setup(self, run: Run) -> None:
        self.inner.setup(run)

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        return self.inner.step(self.run(run), self.changed(run, batch))

    def run(self, run: Run) -> Run:
        return run

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
            said = self.inner.step(cast("Run", Watching(run, self.bench.habits)), batch)
        if not _equal(batch, kept):
            broken(self.bench.registration, "step() changed its batch")
        if not isinstance(said, Mapping):
            broken(self.bench.registration, f"step() must return numbers by name, and returned {type(said).__name__}")
        for name, value in said.items():
            if not isinstance(name, str) or not isinstance(value, (int, float)) or not math.isfinite(value):
                broken(self.bench.registration, f"step() returned {name!r}: {value!r}, which is not a finite number")
        return said


class _Garbage(_Wrapped):
    def changed(self, run: Run, batch: Batch) -> Batch:  # for subclasses
        return spoilt_batch(batch, run.policy.vocab_size)

    def run(self, run: Run) -> Run:
        return cast("Run", SpoiltPadding(run))


def _within(kind: type[Around]) -> Callable[[_Bench, Method], Method]:
    """Return what gives a method a run of some kind."""

    class Within(_Wrapped):
        def run(self, run: Run) -> Run:
            return cast("Run", kind(run))

    return Within


class _Reversed(_Wrapped):
    def changed(self, run: Run, batch: Batch) -> Batch:  # noqa: ARG002  # as above
        return batch[list(reversed(range(len(batch))))]


class _Doubled(_Wrapped):
    def changed(self, run: Run, batch: Batch) -> Batch:  # noqa: ARG002  # as above
        return batch[[*range(len(batch)), *range(len(batch))]]


def _equal(one: Any, other: Any) -> bool:
    """Compare values that hold tensors."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if is_dataclass(one):
        return all(_equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(_equal(one[key], other[key]) for key in one)
    return bool(one == other)
