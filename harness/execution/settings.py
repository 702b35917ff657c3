"""How a run goes about its stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.spec.plugins import INSTALLED, PluginSelection

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from harness.plan import Plan, Stage
    from harness.spec.execution import Execution


@dataclass(frozen=True)
class RunSettings:
    """How to run; nothing here changes a result."""

    jobs: int
    ranks: int
    device: str
    """As the file says it: who runs the stages finds out what there is."""
    threads: int
    execution: Execution
    """What the file says, with what the command line says instead."""
    plugins: PluginSelection = INSTALLED
    retry_unparsed: bool = False
    """Whether judges are asked again where a reply held no verdict."""
    keep: Callable[[], bool] = lambda: False
    """Asked all the time: whether what is being made is to keep its state now."""
    made: Callable[[Stage], object] = lambda _: None
    """Told of each stage that was made."""
    among: Callable[[Plan], Collection[str]] | None = None
    """Returns the keys of the stages of a plan that are asked for, with all their parents; None asks for all."""
