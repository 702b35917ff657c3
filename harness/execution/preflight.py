"""What a plugin knows to be missing, such as a key, and switches with a wrong value: said before anything is made."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from harness.errors import HarnessError, raise_collected
from harness.execution.rehearsal import plugins_of
from harness.lm.switches import switched
from harness.models.engines import check_vllm
from harness.spec.stages.train import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.plan import Stage
    from harness.plugins.registry import Registry


def preflight(stages: Iterable[Stage], registry: Registry) -> None:
    """Call the ``preflight`` of every plugin that stages need, once for each set of options.

    Raises:
        InputError: one plugin says that a run is bound to fail, a switch has a value that does not exist, or the
            engine that is to sample is not installed.
        InputErrors: several plugins do.
    """
    switched()
    asked: set[tuple[str, str, str]] = set()
    errors: dict[str, HarnessError] = {}
    for stage in stages:
        sampling = stage.config.sampling if isinstance(stage.config, TrainConfig) else None
        if sampling is not None and sampling.engine == "vllm":
            check_vllm(f"{stage.label}, recipe.sampling")
        for kind, name, options in plugins_of(stage):
            call = registry.get(kind, name).preflight
            wanted = (kind, name, json.dumps(options, sort_keys=True))
            if call is None or wanted in asked:
                continue
            asked.add(wanted)
            try:
                call(registry.options(kind, name, options))
            except HarnessError as error:
                errors[str(error)] = error
    raise_collected(errors)
