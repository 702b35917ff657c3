"""Names of the files and folders of stages that are not JSON; those that are say theirs beside their class."""

from __future__ import annotations

from typing import Final

#: A model in Hugging Face format, of ``prepare`` and ``train``.
CHECKPOINT: Final = "checkpoint"

#: Of ``train`` under a budget: such folders, one for each point of it that is evaluated before the end.
POINTS: Final = "points"

#: Of ``train``: moments, modules that a method added, and what the method keeps.
OPTIMIZER: Final = "optimizer.safetensors"
MODULES: Final = "modules.safetensors"
METHOD: Final = "method.json"
METHOD_TENSORS: Final = "method.safetensors"

#: Of ``precompute``: keys, lengths and values of reference log-probs; see :mod:`harness.training.reference`.
LOGPROBS: Final = "logprobs.safetensors"
