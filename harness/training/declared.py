"""The run and the batch as a method may use them: what its registration does not declare in ``needs`` is an error."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn, cast

from harness.plugins.reading import UndeclaredError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from harness.api import Batch, Method, Pairs, Run, State
    from harness.api.registration import Need


class DeclaredMethod:
    """A method that is given what it declares and nothing else; otherwise the method itself."""

    def __init__(self, method: Method, needs: Collection[Need], where: str) -> None:
        """Wrap ``method``, which declares ``needs``; ``where`` names it in messages."""
        self._method = method
        self._needs = needs
        self._where = where

    def setup(self, run: Run) -> None:
        """See :meth:`harness.api.Method.setup`."""
        self._method.setup(self._run(run))

    def step(self, run: Run, batch: Batch) -> Mapping[str, float]:
        """See :meth:`harness.api.Method.step`."""
        if batch.pairs is not None and "preferences" not in self._needs:
            batch = replace(batch, pairs=cast("Pairs", UndeclaredPairs(self._where)))
        if "labels" not in self._needs:  # also where there are none: a rehearsal has labels only for who declares them
            hidden: dict[str, Any] = {name: UndeclaredLabels(name, self._where) for name in ("labels", "completions")}
            batch = replace(batch, **hidden)
        return self._method.step(self._run(run), batch)

    def state_dict(self) -> Mapping[str, State]:
        """See :meth:`harness.api.Method.state_dict`."""
        return self._method.state_dict()

    def load_state_dict(self, state: Mapping[str, State]) -> None:
        """See :meth:`harness.api.Method.load_state_dict`."""
        self._method.load_state_dict(state)

    def _run(self, run: Run) -> Run:
        return cast("Run", DeclaredRun(run, self._needs, self._where))


class DeclaredRun:
    """The services of a run; those that a method must declare are refused to one that does not.

    The file is checked, data and models are prepared and costs are estimated by what is declared: without it a method
    fails where that was left out, or the run was planned as something that it is not.
    """

    def __init__(self, services: Run, needs: Collection[Need], where: str) -> None:
        """Serve a method that declares ``needs``; ``where`` names it in messages."""
        self._services = services
        self._needs = needs
        self._where = where

    def __getattr__(self, name: str) -> Any:
        """Pass on every service that needs no declaration."""
        return getattr(self._services, name)

    def sample(self, *arguments: Any, **options: Any) -> Any:
        """See :meth:`harness.api.Run.sample`."""
        self._drawn_by(options)
        return self._services.sample(*arguments, **options)

    def beam(self, *arguments: Any, **options: Any) -> Any:
        """See :meth:`harness.api.Run.beam`."""
        self._drawn_by(options)
        return self._services.beam(*arguments, **options)

    def reward(self, *arguments: Any, **options: Any) -> Any:
        """See :meth:`harness.api.Run.reward`."""
        self._check("reward", "reward()")
        return self._services.reward(*arguments, **options)

    def reference_logprobs(self, *arguments: Any, **options: Any) -> Any:
        """See :meth:`harness.api.Run.reference_logprobs`."""
        self._check("reference", "reference_logprobs()")
        return self._services.reference_logprobs(*arguments, **options)

    def reference_logits(self, *arguments: Any, **options: Any) -> Any:
        """See :meth:`harness.api.Run.reference_logits`."""
        self._check("reference", "reference_logits()")
        return self._services.reference_logits(*arguments, **options)

    def logits(self, *arguments: Any, **options: Any) -> Any:
        """See :meth:`harness.api.Run.logits`."""
        if options.get("reference"):
            self._check("reference", "logits(reference=True)")
        return self._services.logits(*arguments, **options)

    def add_critic(self, *arguments: Any, **options: Any) -> Any:
        """See :meth:`harness.api.Run.add_critic`."""
        self._check("critic", "add_critic()")
        if options.get("start") == "reward_model":
            self._check("reward_model", "add_critic(start='reward_model')")
        return self._services.add_critic(*arguments, **options)

    def _drawn_by(self, options: dict[str, Any]) -> None:
        if options.get("by") == "reference":
            self._check("reference", "candidates of the reference model")

    def _check(self, need: Need, what: str) -> None:
        if need not in self._needs:
            raise undeclared(what, need, self._where)


class UndeclaredPairs:
    """Stands for the pairs of a batch that a method did not declare to need."""

    def __init__(self, where: str) -> None:
        """Stand for the pairs of the method that ``where`` names."""
        self._where = where

    @property
    def chosen(self) -> NoReturn:
        """Refuse."""
        raise undeclared("batch.pairs", "preferences", self._where)

    rejected = chosen

    def __getitem__(self, rows: object) -> UndeclaredPairs:
        """Stand for some of them."""
        return self


class UndeclaredLabels:
    """Stands for the labels of a batch, or for their completions, that a method did not declare to need."""

    def __init__(self, name: str, where: str) -> None:
        """Stand for a field of a batch; ``where`` names the method."""
        self._name = name
        self._where = where

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse."""
        if name.startswith("__"):  # Python asks for these by itself
            raise AttributeError(name)
        self.refuse()

    def __getitem__(self, rows: object) -> UndeclaredLabels:
        """Stand for some of them."""
        return self

    @classmethod
    def __torch_function__(
        cls, _function: object, _types: object, arguments: Sequence[Any], _named: object = None
    ) -> NoReturn:
        """Refuse what is called with them."""
        next(part for part in arguments if isinstance(part, cls)).refuse()

    def refuse(self, *_: object) -> NoReturn:
        """Raise the error of their use."""
        raise undeclared(f"batch.{self._name}", "labels", self._where)

    __bool__ = __len__ = __iter__ = __invert__ = __and__ = __mul__ = __rmul__ = __sub__ = __rsub__ = refuse


def undeclared(what: str, need: Need, where: str) -> UndeclaredError:
    """Return the error of using what a registration does not declare."""
    return UndeclaredError(
        f"the method uses {what}, and its registration does not declare that it needs {need!r}",
        where=where,
        expected=f"needs=frozenset({{{need!r}}}) in its registration, with what else it needs",
    )
