"""Trying a language model once before anything is trained from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.lm.model.policy import Policy
from harness.lm.way import structural_way
from harness.stages.suitability import check_suitable

if TYPE_CHECKING:
    from pathlib import Path

    from harness.spec.model import Model
    from harness.spec.results.models import Way


def try_model(folder: Path, spec: Model) -> tuple[int | None, Way]:
    """Load a model and try what training and sampling will ask of it.

    Returns:
        its context in tokens, None for no limit; the way that its structure has it take.

    Raises:
        InputError: it is not fit for them.
    """
    policy = Policy.load(folder, spec=spec)
    check_suitable(policy, where=f"model {spec.name}")
    return policy.positions_limit, structural_way(policy)
