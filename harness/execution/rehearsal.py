"""Whether plugins keep their contract, before a run rests on them: each is built, and each method takes a tiny step.

Done by a worker, since ``build`` may import torch. A rehearsal asks one thing of a method: whether it uses what its
registration does not declare. That it fails on a model of five thousand parameters otherwise proves nothing.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.api.registration import Kind
from harness.errors import HarnessError, raise_collected
from harness.execution.executors.interface import GOES_ON
from harness.plugins.protocols import check_reward_call
from harness.plugins.reading import UndeclaredError
from harness.plugins.runtime_options import join_options
from harness.spec.plugins import PluginSelection
from harness.spec.section import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from harness.api import Method, MethodRegistration
    from harness.execution.pool import Pool
    from harness.plan import Stage
    from harness.plugins.registry import Registry


class UsedPlugin(Frozen):
    """A plugin with the options that a run uses it with."""

    kind: Kind
    name: str
    options: dict[str, Any]


class InspectionRequest(Frozen):
    """What a worker is told that is to inspect plugins."""

    used: tuple[UsedPlugin, ...]
    results: Path
    plugins: PluginSelection
    kind: Literal["inspection"] = "inspection"
    label: Literal["plugins"] = "plugins"
    id: Literal[""] = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return self.model_dump(mode="json")


def uses(stages: Iterable[Stage]) -> list[UsedPlugin]:
    """Return every plugin that stages use, each once with the same options."""
    used = {}
    for stage in stages:
        for kind, name, options in plugins_of(stage):
            asked = json.dumps([kind, name, options], sort_keys=True)
            used[asked] = UsedPlugin(kind=kind, name=name, options=options)
    return list(used.values())


def inspect_in(pool: Pool, stages: Sequence[Stage], results: Path, plugins: PluginSelection) -> dict[str, Any] | None:
    """Let a worker inspect the plugins of some stages; return what it said where one breaks its contract.

    If its process dies, perhaps for want of memory, another one inspects them once more.
    """
    used = uses(stages)
    request = InspectionRequest(used=tuple(used), results=results, plugins=plugins)
    failed = _inspect_once(pool, stages, request) if used else None
    return _inspect_once(pool, stages, request) if failed is not None and failed["died"] else failed


def _inspect_once(pool: Pool, stages: Sequence[Stage], request: InspectionRequest) -> dict[str, Any] | None:
    worker = pool.idle()
    if worker is None:
        return None
    pool.start(len(stages))  # the others import meanwhile
    worker.give(stages[0], request)
    failed = None
    while worker.stage is not None:
        for event in pool.wait(0.5):
            if event.place is worker and event.kind not in GOES_ON:
                failed = {**event.body, "died": event.kind == "died"} if event.kind != "done" else None
    return failed


def plugins_of(stage: Stage) -> Iterator[tuple[Kind, str, dict[str, Any]]]:
    """Yield kind, name and options of every plugin that a stage uses."""
    for kind, plugin in stage.config.plugins():
        yield kind, plugin.name, join_options(plugin.options, stage.runtime.options)


def inspect_plugins(used: Iterable[UsedPlugin], registry: Registry) -> None:
    """Build every plugin, check it against its protocol and let methods rehearse.

    Raises:
        HarnessError: one plugin breaks its contract.
        InputErrors: several do.
    """
    errors: dict[str, HarnessError] = {}
    for use in used:
        try:
            _inspect(use.kind, use.name, use.options, registry)
        except HarnessError as error:
            errors[str(error)] = error
    raise_collected(errors)


def _inspect(kind: Kind, name: str, options: Mapping[str, Any], registry: Registry) -> None:
    built = registry.build(kind, name, options)
    registration: Any = registry.resolved(kind, name, options)
    where = registry.find(kind, name).named
    if kind == "reward":
        check_reward_call(built, registration, where)
    if kind == "method":
        _rehearse(built, registration, where)


def _rehearse(method: Method, registration: MethodRegistration, where: str) -> None:
    """Raise UndeclaredError where a method uses what it does not declare in its setup or its first step."""
    from harness.execution.tiny import probe_reward, tiny_plan, tiny_policy, tiny_rows
    from harness.training.assignment import Judges, RunContext
    from harness.training.declared import DeclaredMethod
    from harness.training.loop import Segment
    from harness.training.rewards import CombinedReward, Part
    from harness.training.seeds import own_generators

    policy = tiny_policy()
    try:
        segment = Segment(
            tiny_plan(steps=1),
            policy,
            tiny_rows(policy, labelled="labels" in registration.needs),
            DeclaredMethod(method, registration.needs, where),
            context=RunContext(log=lambda _row: None),
            judges=Judges(reward=CombinedReward([Part("probe", probe_reward)]), load_reference=tiny_policy),
        )
        with own_generators(policy.device):
            segment.begin()
            segment.run()
    except UndeclaredError:
        raise
    except Exception as error:  # noqa: BLE001  # see above: the stage itself will tell
        logging.getLogger(__name__).debug("%s did not rehearse: %s", where, error)
