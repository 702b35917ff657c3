"""What a plugin hands over: plain records that can be listed, validated and planned with without importing torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from pathlib import Path

#: The four kinds of plugin.
Kind: TypeAlias = Literal["method", "reward", "dataset", "metric"]

#: What a method needs beyond demonstrations and its own samples; ``labels`` are those of unpaired preferences.
Need: TypeAlias = Literal["reward", "reference", "preferences", "labels", "critic", "reward_model"]

#: What the rows of a data set are. TRL's names are prompt-completion, preference, unpaired preference and prompt-only.
DataKind: TypeAlias = Literal["demonstrations", "preferences", "unpaired_preferences", "references", "prompts"]

#: Each kind of data in the words of a message.
DATA_KINDS: Final[Mapping[DataKind, str]] = {
    "demonstrations": "demonstrations",
    "preferences": "preferences",
    "unpaired_preferences": "unpaired preferences",
    "references": "prompts with references alone",
    "prompts": "prompts alone",
}

#: What a metric needs beyond the samples: the model that wrote them, the benchmark's fixed scoring model, or its reward
#: model.
MetricNeed: TypeAlias = Literal["policy", "scorer", "reward_model"]

#: What a reward needs beyond the answers.
RewardNeed: TypeAlias = Literal["reward_model", "tokenizer"]

#: Where the columns of a metric stand.
Role: TypeAlias = Literal["score", "fluency", "length", "paid", "judge", "other"]

#: An import string ``"package.module:Name"`` (imported only when used) or the callable itself.
Build: TypeAlias = str | Callable[[Any], Any]

#: What an entry of ``methods`` says after ``use:`` for a row that was trained elsewhere; no method has such a name.
ELSEWHERE: Final = ("checkpoint", "answers")

#: Keys of a benchmark file's plugin entry that the core reads; no plugin option may have one of these names.
RESERVED_KEYS = frozenset({
    "use", "label", "preset", "sweep", "recipe", "start", "active", "reward_weights",
    "dataset", "path", "split", "limit", "name", "weight", "overlong", "pair_with", "train_on_reference", "group",
    "parts", "aggregate",
})  # fmt: skip


class Options(BaseModel):
    """Base of every plugin's options: unknown keys are errors, values are frozen, defaults are checked too."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, use_attribute_docstrings=True)


def runtime(default: Any, **rest: Any) -> Any:
    """Return the pydantic field of an option that says how the work is done and can change no result.

    Its value is part of no id: a time-out, how many requests at a time, a limit that makes a stage fail.
    """
    return Field(default, json_schema_extra={"changes": "runtime"}, **rest)


class NoOptions(Options):
    """For a plugin without options."""


@dataclass(frozen=True)
class Preset:
    """Named settings that belong together: a method's options and the recipe they were published with."""

    options: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    summary: str = ""
    active: Literal["last", "all_but_last", "all"] | int | None = None
    """The epochs in which the method is on (an entry's ``active``), where the preset says so; like the recipe, it holds
    only when the preset is named."""


@dataclass(frozen=True, kw_only=True)
class _Registration:
    name: str
    """What a benchmark file says after ``use:``; lower case, digits and hyphens."""
    summary: str
    """One line for ``harness plugins``."""
    build: Build
    """Called with the validated options; returns the plugin's object."""
    options: type[Options] = NoOptions
    """A pydantic model with ``extra="forbid"``; lives in a module that imports no torch."""
    source: str = ""
    """The paper or data URL."""
    modules: tuple[str, ...] = ()
    """Further modules whose source can change a result, beside the one that ``build`` names."""
    preflight: Callable[[Any], None] | None = None
    """Called with the validated options by ``harness run``, before anything is made that this plugin would be needed
    for; raises InputError where a run is bound to fail (a key that is not set). It costs no time and no money."""


@dataclass(frozen=True, kw_only=True)
class MethodRegistration(_Registration):
    """A post-fine-tuning method; ``build(options)`` returns a :class:`harness.api.protocols.Method`."""

    needs: frozenset[Need] = frozenset()
    trains: Literal["policy", "reward_model"] = "policy"
    """``reward_model``: it stands under ``reward_model:`` of a benchmark file and not under ``methods``, and adds a
    module ``reward_head``, which maps a last hidden state to one number."""
    presets: Mapping[str, Preset] = field(default_factory=dict)
    """Named presets. The one called ``default_preset`` gives options (never the recipe) when none is named."""
    default_preset: str | None = None
    supervised: bool = False
    """True for a plain supervised method that may train the start shared by all others."""
    start: Literal["branch", "after"] = "branch"
    """Default way to start: ``branch`` off the shared schedule, or ``after`` a finished supervised checkpoint."""
    active: Literal["last", "all_but_last", "all"] | int = "last"
    """Default epochs in which the method is on (an entry's ``active``); a preset that is named may say otherwise."""
    mixes_supervision: bool = True
    """Whether the update holds a supervised term on the demonstrations."""
    logs: tuple[Column, ...] = ()
    """Numbers that it logs (``run.log``, or what ``step`` returns) and that the table of training signals shows, each
    a mean over the steps that logged it. What is logged and not listed stands in ``train.jsonl`` alone."""
    reads: tuple[str, ...] = ()
    """Columns of the training data that it reads from ``batch.columns``: a run in whose rows one of them is missing
    is refused before anything is trained."""
    by_options: Callable[[Any], Mapping[str, Any]] | None = None
    """Given the validated options, returns the fields that depend on them (``needs``, ``reads``)."""

    def resolved(self, options: Any) -> MethodRegistration:
        """Return the registration as the validated ``options`` make it."""
        return self if self.by_options is None else replace(self, **self.by_options(options))


@dataclass(frozen=True, kw_only=True)
class RewardRegistration(_Registration):
    """A reward; ``build(options)`` returns a function with TRL's signature (see ``RewardFunction``)."""

    range: tuple[float, float] | None = None
    """Smallest and largest value, when they are known."""
    needs: frozenset[RewardNeed] = frozenset()
    """With ``reward_model`` the function is called with one more keyword, ``reward_model``: a function of prompts and
    completions (two lists of texts) that returns the reward model's score of each, normalised as the file says. With
    ``tokenizer`` it is called with the policy's :class:`harness.api.Tokenizer` as ``tokenizer``."""
    function: bool = False
    """True where ``build`` is the reward function itself, as one written for TRL, and not what makes one from options;
    options, if there are any, become keyword arguments of every call."""
    reads: tuple[str, ...] = ()
    """Columns of the training data that it needs, ``references`` among them. It is shown no others: reading one is an
    error. A run in whose rows one of them is missing is refused before anything is trained."""
    may_read: tuple[str, ...] = ()
    """Columns that it reads where the data has them, and can do without."""
    by_options: Callable[[Any], Mapping[str, Any]] | None = None
    """Given the validated options, returns the fields that depend on them (``reads``)."""

    def resolved(self, options: Any) -> RewardRegistration:
        """Return the registration as the validated ``options`` make it."""
        return self if self.by_options is None else replace(self, **self.by_options(options))


@dataclass(frozen=True, kw_only=True)
class DatasetRegistration(_Registration):
    """A data set; ``build(options)`` returns a :class:`harness.api.protocols.Dataset`."""

    provides: DataKind = "demonstrations"
    """What every row is: ``demonstrations`` have a completion, ``preferences`` a chosen and a rejected answer,
    ``unpaired_preferences`` a completion and a ``label``, ``references`` no more than answers to compare with, and
    ``prompts`` nothing else."""
    kind_of: Callable[[Any, Path | None, str], DataKind | None] | None = None
    """Where the kind depends on them: given the validated options, the user's path and the split, returns the kind, or
    None to leave it at ``provides``. Called while a file is validated: no network, and of a file its beginning alone.
    It may raise InputError where that is wrong."""
    splits: tuple[str, ...] = ("train", "validation", "test")
    splits_of: Callable[[Any, Path | None], tuple[str, ...]] | None = None
    """Where the splits depend on them: given the validated options and the user's path, returns their names. Called
    while a file is validated, as ``kind_of`` is. An empty tuple where that is known only once the data is
    fetched."""
    sketch: Callable[[Path], Mapping[str, Any]] | None = None
    """For a data set that reads files of the user's: given a path that no benchmark file names yet, returns the options
    that it would be read with, for ``harness show data PATH``. It raises InputError where it cannot be."""
    licence: str = "unknown"
    revision: str | None = None
    """The upstream commit that ``build`` loads by default; None where it is not known."""
    generated: bool = False
    """True for data made by seeded code; tables then say so."""

    def kind(self, options: Any, source: Path | None, split: str) -> DataKind:
        """Return what the rows of a split are, by the validated ``options`` and the user's path."""
        kind = None if self.kind_of is None else self.kind_of(options, source, split)
        return kind or self.provides

    def splits_in(self, options: Any, source: Path | None) -> tuple[str, ...]:
        """Return the names of the splits, by the validated ``options`` and the user's path."""
        return self.splits if self.splits_of is None else self.splits_of(options, source)


@dataclass(frozen=True)
class Column:
    """One number that a metric gives per answer, and how a table shows it."""

    name: str
    label: str
    higher_is_better: bool | None = None
    """None where neither direction is better (length)."""
    unit: str = ""
    scale: float = 1.0
    """Tables show ``value * scale`` (100 for scores in [0, 1])."""
    digits: int = 2
    shown: bool = True
    """False for a number that is stored and exported, but would only widen the tables."""
    range: tuple[float | None, float | None] = (None, None)
    """Smallest and largest value that it can have, before ``scale``; None where there is no bound. No interval goes
    beyond it."""
    deterministic: bool = False
    """True where all seeds may rightly have the same number for each prompt though their answers differ: one of the
    prompts, or of the metric itself. Elsewhere that is an error, for such a metric does not see what it scores."""


@dataclass(frozen=True, kw_only=True)
class MetricRegistration(_Registration):
    """A metric; ``build(options)`` returns a :class:`harness.api.protocols.Metric`."""

    columns: tuple[Column, ...]
    """The columns of ``MetricResult.values``: one value an answer."""
    corpus: tuple[Column, ...] = ()
    """How a table shows the numbers of ``MetricResult.corpus``; one that is not listed is stored and not shown."""
    headline: str = ""
    """The column that stands for the metric where there is room for one; the first where empty."""
    needs: frozenset[MetricNeed] = frozenset()
    draws: int = 1
    """Fewest answers to a prompt that it can say anything of (pass@k takes k). Above 1 its values are of all draws of a
    prompt together, and it is computed under decodings with as many alone; tables show the first of these."""
    role: Role = "score"
    """Where its columns stand: ``scores`` and ``cross-dataset`` take ``score``, ``fluency`` takes ``fluency``, ``paid``
    takes ``paid`` and the headlines of ``length`` and ``fluency``. A ``judge`` is asked under the first decoding
    alone."""
    opponents: tuple[str, ...] = ()
    """Labels of the rows whose answers it reads beside those it scores (see ``MetricServices.answers_of``); settled by
    ``by_options``."""
    models_of: tuple[str, ...] = ()
    """Labels of the rows whose models it asks beside the policy (see ``MetricServices.divergences``), of the same seed;
    settled by ``by_options``. It needs ``policy`` then."""
    retryable: tuple[str, ...] = ()
    """Names in ``MetricResult.corpus`` that count values which asking again might give (a judge's replies without a
    verdict). ``harness run --retry-unparsed`` scores again where one is not 0; see ``MetricServices.retry_before``."""
    reads: tuple[str, ...] = ()
    """Columns of the evaluated data that it needs, ``references`` among them. It is shown no others: reading one is an
    error. A run is refused before anything is trained where an evaluated data set has not got one of them; of
    ``references``, where none has any."""
    may_read: tuple[str, ...] = ()
    """Columns that it reads where the data has them, and can do without."""
    by_options: Callable[[Any], Mapping[str, Any]] | None = None
    """Given the validated options, returns the fields that depend on them: an adapter's columns are those of what it
    adapts."""

    def resolved(self, options: Any) -> MetricRegistration:
        """Return the registration as the validated ``options`` make it."""
        return self if self.by_options is None else replace(self, **self.by_options(options))


Registration: TypeAlias = MethodRegistration | RewardRegistration | DatasetRegistration | MetricRegistration
