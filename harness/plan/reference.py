"""The stage of what the model at which a method starts says of the pairs that the method trains on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.spec.stages.base import Loading
from harness.spec.stages.reference import ReferenceConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.plan.graph import Stage
    from harness.plan.planner import Planner
    from harness.spec.model import Model
    from harness.spec.recipe import Recipe


def reference_parents(planner: Planner, model: Model, recipe: Recipe, parents: Mapping[str, Stage]) -> dict[str, Stage]:
    """Return the further parents of a training stage that starts and reads as ``parents`` say, and needs both.

    The settings of the stage are those of the training stage that change a reference log-prob, and no others: methods
    that start at one checkpoint and read the data alike share it.
    """
    template = planner.benchmark.template
    config = ReferenceConfig(recipe=recipe.row_limits, template=template, loading=Loading.of(model))
    read = {name: parents[name] for name in ("rows", "start")}
    label = f"{parents['start'].label}/reference log-probs"
    return {"reference_logprobs": planner.add(label, config, read)}
