"""The stage of what the model at which a method starts says of the pairs that the method trains on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from harness.plan.graph import Stage, result_settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from harness.api import MethodRegistration
    from harness.plan.graph import StageKind
    from harness.spec.benchmark import Benchmark, MethodEntry, Model

#: Settings of a recipe that change what a row's tokens are.
_READ = ("max_prompt_length", "max_completion_length", "train_eos")


class Builder(Protocol):
    """What plans the rest: see :mod:`harness.plan.build`."""

    benchmark: Benchmark

    def add(self, kind: StageKind, label: str, config: dict[str, Any], parents: Mapping[str, Stage]) -> Stage:
        """Add a stage once."""


def reference_parents(
    builder: Builder, model: Model, entry: MethodEntry, registration: MethodRegistration, parents: Mapping[str, Stage]
) -> dict[str, Stage]:
    """Return the further parents of a training stage that starts and reads as ``parents`` say.

    The settings of the stage are those of the training stage that change a reference log-prob, and no others: methods
    that start at one checkpoint and read the data alike share it.
    """
    if not {"reference", "preferences"} <= registration.needs:
        return {}
    config = {
        "what": "reference-logprobs",
        "recipe": {name: getattr(entry.recipe, name) for name in _READ},
        "template": result_settings(builder.benchmark.template),
        "model": {"dtype": model.dtype, "attention": model.attention},
    }
    read = {name: parents[name] for name in ("rows", "start")}
    label = f"{parents['start'].label}/reference log-probs"
    return {"reference_logprobs": builder.add("precompute", label, config, read)}
