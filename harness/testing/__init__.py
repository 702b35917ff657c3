"""Shipped to plugin authors: contract checks, a tiny policy, fake distributions.

Each check takes a registration and raises :class:`ContractError`, which says what was broken; pytest shows it as a
failed assertion. Torch is imported by ``check_method`` and the tiny policy only.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.testing.datasets import check_dataset
    from harness.testing.distributions import installed, write_distribution
    from harness.testing.methods import check_method
    from harness.testing.metrics import check_metric
    from harness.testing.registrations import ContractError, check_registration
    from harness.testing.rewards import check_reward
    from harness.testing.tiny import tiny_batch, tiny_examples, tiny_policy, tiny_tokeniser

__all__ = [
    "ContractError", "check_dataset", "check_method", "check_metric", "check_registration", "check_reward", "installed",
    "tiny_batch", "tiny_examples", "tiny_policy", "tiny_tokeniser", "write_distribution",
]  # fmt: skip

_HOMES = {
    "ContractError": "registrations",
    "check_dataset": "datasets",
    "check_method": "methods",
    "check_metric": "metrics",
    "check_registration": "registrations",
    "check_reward": "rewards",
    "installed": "distributions",
    "tiny_batch": "tiny",
    "tiny_examples": "tiny",
    "tiny_policy": "tiny",
    "tiny_tokeniser": "tiny",
    "write_distribution": "distributions",
}


def __getattr__(name: str) -> Any:
    """Import a name from its module when it is first used: half of them need torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
