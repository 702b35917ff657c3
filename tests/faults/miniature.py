"""The smallest benchmarks that train each method, and their enumeration in a process whose imports are done."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from execution import warm
from execution.bench import tiny

if TYPE_CHECKING:
    from collections.abc import Mapping

TESTS = Path(__file__).resolve().parent.parent

RECIPE: Mapping[str, Any] = {**tiny()["recipe"], "batch_size": 6, "generate_length": 4}
PAIRS = {"dataset": "generated-preferences"}
_ON_PAIRS: Mapping[str, Any] = {
    "template": {"text": "{prompt}", "truncate": "prompt"},
    "train": {**PAIRS, "limit": 12},
    "evaluate": [{**PAIRS, "limit": 2, "label": "test"}],
}
_TEMPERATURES = {"temperatures": [0.5, 1.5]}
_PPO = {"use": "ppo", "recipe": {"method_learning_rate": 1e-3}}


def miniature(*methods: Any, **changes: Any) -> dict[str, Any]:
    """Return a benchmark of two steps an epoch, which keeps its state between them."""
    content = {
        "train": {"dataset": "generated-instructions", "limit": 12},
        "evaluate": [{"dataset": "generated-instructions", "limit": 2, "label": "test"}],
        "recipe": RECIPE,
        "decoding": {"t1": {"max_new_tokens": 4}},
        "methods": ["sft", *methods],
        "execution": {"checkpoint_minutes": 1e-6},
    }
    return tiny(**{**content, **changes})


#: The miniature run of each method that ships, and of a budget that is evaluated on the way.
BUILT_IN: Mapping[str, Mapping[str, Any]] = {
    "eso": miniature({"use": "eso", **_TEMPERATURES}),
    "drl": miniature("drl"),
    "unlikelihood": miniature("unlikelihood"),
    "rrhf": miniature("rrhf"),
    "ppo": miniature(_PPO),
    "dpo": miniature("dpo", **_ON_PAIRS, reward=None),
    "a budget": miniature(
        {"use": "eso", **_TEMPERATURES},
        recipe={**RECIPE, "epochs": 1, "budget": {"unit": "steps", "amount": 4, "checkpoints": [0.5]}},
    ),
    "bradley-terry": miniature(
        {"use": "eso", **_TEMPERATURES},
        **_ON_PAIRS,
        reward={"use": "reward-model"},
        reward_model={"use": "bradley-terry", "test": {**PAIRS, "split": "test", "limit": 4}, "normalise": "zscore"},
    ),
}

#: Of methods of the second distribution.
OTHERS: Mapping[str, Mapping[str, Any]] = {
    **{name: miniature(name) for name in ("rloo", "grpo", "remax", "best-of-n", "es")},
    **{name: miniature(name, **_ON_PAIRS, reward=None) for name in ("orpo", "simpo", "cpo")},
}


def surroundings(**more: str) -> dict[str, str]:
    """Return the environment of a process that imports from the tests."""
    known = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(TESTS), *([known] if known else [])])
    return {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "100", "PYTHONPATH": path, **more}


def enumerated(
    folder: Path, content: Mapping[str, Any], *, every: int = 1, first: int = 0, tables: int = 1
) -> dict[str, Any]:
    """Enumerate the points of a run that begins with ``folder / "results"``; see :mod:`faults.points`."""
    wanted = {"folder": str(folder), "content": content, "every": every, "first": first, "tables": tables}
    command = [sys.executable, "-m", "faults.points", json.dumps(wanted)]
    done = warm.ended(command, env=surroundings(), timeout=3 * 3600.0, cwd=str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    print({name: value for name, value in found.items() if name != "wrong"})
    return found
