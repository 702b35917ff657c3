"""What the object that ``build`` returns must be able to do, and with which arguments it is called."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

from harness.errors import PluginError
from harness.plugins.called_with import CALLED_WITH, ON_REQUEST

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from harness.api.registration import Kind, RewardRegistration

#: The functions of each kind of plugin with the names of what they are given, by place.
MEMBERS: Final[Mapping[Kind, Mapping[str, tuple[str, ...]]]] = {
    "method": {"setup": ("run",), "step": ("run", "batch"), "state_dict": (), "load_state_dict": ("state",)},
    "reward": {"__call__": ()},
    "dataset": {"identity": ("source",), "prepare": ("source", "folder"), "load": ("folder", "split")},
    "metric": {"score": ("samples", "services")},
}


def check_members(kind: Kind, built: object, where: str) -> None:
    """Raise PluginError where an object lacks a function of its kind, or has one that cannot be called as it will be.

    Args:
        kind: what it is meant to be.
        built: what ``build`` returned.
        where: names the plugin.
    """
    members = MEMBERS[kind]
    missing = [name for name in members if not callable(getattr(built, name, None))]
    if isinstance(built, type) or missing:
        lacking = "" if isinstance(built, type) else f" without {', '.join(f'{name}()' for name in missing)}"
        raise PluginError(
            f"`build` returned {built if isinstance(built, type) else type(built).__name__}{lacking}",
            where=where,
            expected=f"an object with {', '.join(f'{name}()' for name in members)}",
        )
    if kind == "reward":
        return
    for name, arguments in members.items():
        function = getattr(built, name)
        call = f"{name}({', '.join(arguments)})"
        if inspect.iscoroutinefunction(function):
            raise PluginError(f"{name}() is async, and nobody waits for it", where=where, expected=f"a plain {call}")
        signature = _signature(function)
        try:
            if signature is not None:
                signature.bind(*arguments)
        except TypeError as error:
            raise PluginError(
                f"{name}() cannot be called as {call}: {error}", where=where, got=f"{name}{signature}"
            ) from None


def check_reward_call(function: Callable[..., Any], registration: RewardRegistration, where: str) -> None:
    """Raise PluginError where a reward cannot be called with keywords as it will be, or asks for undeclared columns.

    Args:
        function: what the registration builds, with options that it takes as keywords already bound.
        registration: as its options make it.
        where: names the plugin.
    """
    signature = _signature(function)
    if signature is None:
        return
    given = [name for name in CALLED_WITH if name not in ON_REQUEST or name in registration.needs]
    declared = (*registration.reads, *registration.may_read)
    bound = getattr(function, "keywords", {})
    keywords = False
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            keywords = True
        elif parameter.kind is parameter.POSITIONAL_ONLY:
            raise PluginError("a reward is called with keywords, and this takes values by place", where=where, got=name)
        elif parameter.kind is parameter.VAR_POSITIONAL or name in bound or name in given or name in declared:
            continue
        elif parameter.default is parameter.empty:
            raise PluginError(
                f"it asks for {name!r}: no option of its own, and no column that its registration declares",
                where=where,
                expected=declaring(name, registration.reads),
            )
    if not keywords and (left := [name for name in given if name not in signature.parameters]):
        raise PluginError(
            f"it cannot be called with the keyword {left[0]!r}", where=where, got=str(signature),
            expected="**columns at the end, as TRL asks for",
        )  # fmt: skip


def declaring(name: str, reads: Collection[str]) -> str:
    """Return what a registration must say so that a column may be read."""
    listed = ", ".join(f'"{known}"' for known in (*reads, name))
    return f"reads=({listed}{',' if not reads else ''}) in its registration"


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # some callables written in C have none
        return None
