"""The only package of the harness that a plugin may import."""

from harness.api.conversation import Conversation, Role, Turn
from harness.api.hookspecs import hookimpl, hookspec
from harness.api.protocols import (
    Dataset,
    Method,
    Metric,
    MetricServices,
    Policy,
    Progress,
    RewardFunction,
    Run,
    Tokenizer,
)
from harness.api.registration import (
    DATA_KINDS,
    Column,
    DataKind,
    DatasetRegistration,
    Kind,
    MethodRegistration,
    MetricRegistration,
    NoOptions,
    Options,
    Preset,
    Registration,
    RewardRegistration,
    runtime,
)
from harness.api.stateless import Stateless
from harness.api.types import (
    Batch,
    Completions,
    Divergence,
    Example,
    Limits,
    Logits,
    LogProbs,
    MetricResult,
    Pairs,
    Prompts,
    Provenance,
    Rewards,
    Sample,
    State,
)
from harness.disk import open_file, remove_file, replace_file
from harness.errors import DivergedError, HarnessError, InputError, MachineError, StageError, suggest

__all__ = [
    "DATA_KINDS", "Batch", "Column", "Completions", "Conversation", "DataKind", "Dataset", "DatasetRegistration",
    "DivergedError", "Divergence", "Example", "HarnessError", "InputError", "Kind", "Limits", "LogProbs", "Logits",
    "MachineError", "Method", "MethodRegistration", "Metric", "MetricRegistration", "MetricResult",
    "MetricServices", "NoOptions", "Options", "Pairs", "Policy", "Preset", "Progress", "Prompts", "Provenance",
    "Registration", "RewardFunction", "RewardRegistration", "Rewards", "Role", "Run", "Sample", "StageError",
    "State", "Stateless", "Tokenizer", "Turn", "hookimpl", "hookspec", "open_file",
    "remove_file", "replace_file", "runtime", "suggest",
]  # fmt: skip
