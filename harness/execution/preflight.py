"""What a plugin knows to be missing, such as a key: said before anything is made."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, InputErrors
from harness.plugins.runtime_options import join_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from harness.api.registration import Kind
    from harness.plan import Stage
    from harness.plugins import Registry


def preflight(stages: Iterable[Stage], registry: Registry) -> None:
    """Call the ``preflight`` of every plugin that stages need, once for each set of options.

    Raises:
        InputError: one plugin says that a run is bound to fail.
        InputErrors: several do.
    """
    asked: set[tuple[str, str, str]] = set()
    errors: dict[str, HarnessError] = {}
    for stage in stages:
        for kind, name, options in _plugins(stage):
            call = registry.get(kind, name).preflight
            wanted = (kind, name, json.dumps(options, sort_keys=True))
            if call is None or wanted in asked:
                continue
            asked.add(wanted)
            try:
                call(registry.options(kind, name, options))
            except HarnessError as error:
                errors[str(error)] = error
    if len(errors) == 1:
        raise next(iter(errors.values()))
    if errors:
        raise InputErrors(errors.values())


def _plugins(stage: Stage) -> Iterator[tuple[Kind, str, dict[str, Any]]]:
    config: Mapping[str, Any] = stage.config
    kinds: tuple[Kind, ...] = ("dataset", "method", "metric")
    for kind in kinds:
        if kind in config:
            yield kind, config[kind], join_options(config["options"], stage.runtime.get("options", {}))
    for part in config.get("reward", {}).get("parts", ()):
        yield "reward", part["use"], part["options"]
