"""The resolved benchmark file: every default filled in, every option validated, nothing left to look up.

Each field says through ``mark`` whether it can change a result: ``RESULT`` fields enter the ids of the stages that read
them, ``RUNTIME`` and ``DISPLAY`` fields never do. An unmarked field fails a test.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import Field, NonNegativeInt, PositiveInt

from harness.api.registration import DataKind
from harness.spec.decoding import Decoding
from harness.spec.elsewhere import ElsewhereEntry
from harness.spec.execution import Execution
from harness.spec.model import Model, Template
from harness.spec.recipe import Recipe
from harness.spec.reward import Reward
from harness.spec.section import DISPLAY, RESULT, RUNTIME, Section, Seed, mark


class DataUse(Section):
    """One split of one data set, as the file uses it."""

    dataset: str = mark(RESULT)
    split: str = mark(RESULT)
    options: dict[str, Any] = mark(RESULT, {})
    """The plugin's validated options with all defaults (in a file they stand beside ``dataset``)."""
    path: str | None = mark(RUNTIME, None)
    limit: PositiveInt | None = mark(RESULT, None)
    """Use the first N rows only."""
    pair_with: Literal["other-rows"] | None = mark(RESULT, None)
    """``other-rows`` makes demonstrations into preferences: rejected is the demonstration of the next row, cut to no
    more words. They say nothing about quality; a timing needs them."""
    train_on_reference: PositiveInt | None = mark(RESULT, None)
    """Which reference of a row, from 1, is its demonstration, where the row has no completion."""
    overlong: Literal["cut", "drop"] = mark(RESULT, "cut")
    """A test prompt that is too long is cut from the left of its context, or dropped for all rows of a table alike."""
    label: str | None = mark(DISPLAY, None)
    group: str | None = mark(DISPLAY, None)
    """Name of a column of the rows: prompts with the same value belong together (variants of one template, turns of one
    dialogue), and comparisons count them as such."""
    kind: DataKind | None = mark(RESULT, None)
    """What the rows are. No key of a file: the data set says it, by its options and its content."""


class RewardModel(Section):
    """What judges answers by preferences: trained from this benchmark's own checkpoint, or a model that exists.

    There is one for each entry of ``models``, shared by all rows and seeds.
    """

    use: str | None = mark(RESULT, None)
    """The method that trains it; None where it exists."""
    options: dict[str, Any] = mark(RESULT, {})
    model: Model | None = mark(RESULT, None)
    """A sequence classifier with one output (``AutoModelForSequenceClassification``): a hub name, or a folder."""
    recipe: Recipe = mark(RESULT, Recipe())
    """Laid over the file's recipe, but for ``epochs``."""
    start: Literal["supervised", "base"] = mark(RESULT, "supervised")
    """Start from the supervised checkpoint of the first seed, or from the untrained model."""
    train: DataUse | None = mark(RESULT, None)
    """The preferences it learns from: the file's ``train`` where the file names none."""
    test: DataUse | None = mark(RESULT, None)
    """Held-out preferences, which its own table is made of."""
    normalise: Literal["none", "shift", "zscore"] = mark(RESULT, "none")
    """What is done to its scores wherever they are used: nothing, minus the mean, or that over the standard deviation;
    both over the demonstrations of the first training rows."""


Active: TypeAlias = Literal["last", "all_but_last", "all"] | Annotated[int, Field(ge=0)]


class MethodEntry(Section):
    """One row of the tables: a method with its options and recipe, after presets, sweeps and overrides."""

    use: str = mark(RESULT)
    label: str = mark(DISPLAY)
    options: dict[str, Any] = mark(RESULT, {})
    recipe: Recipe = mark(RESULT)
    start: Literal["branch", "after"] = mark(RESULT, "branch")
    active: Active = mark(RESULT, "last")
    """Epochs in which the method's term is on; a number is the first active step."""
    reward_weights: dict[str, float] = mark(RESULT, {})
    """Part of the reward, by its label, to the weight that it has for this row."""
    preset: str | None = mark(DISPLAY, None)
    """The preset that was named, if any: what it set stands in ``options`` and ``recipe``."""
    trials: tuple[dict[str, Any], ...] = mark(RESULT, ())
    """What ``tune`` tries: options, ``recipe.NAME`` or ``reward_weights.PART`` to their values, which take the place of
    the entry's own. Empty where nothing is chosen."""


class MetricUse(Section):
    """One metric with its options."""

    use: str = mark(RESULT)
    options: dict[str, Any] = mark(RESULT, {})


class Scorer(Section):
    """The fixed model under which the perplexity of answers is measured."""

    model: str = mark(RESULT, "start")
    """``start``: the supervised checkpoint of the first seed (and the tables say so); else a name in ``models``, a hub
    name or a folder given by ``sources``."""


class Timing(Section):
    """A benchmark of what training costs: its stages are made one at a time, and nothing need be evaluated."""

    warmup_steps: NonNegativeInt = mark(DISPLAY, 10)
    """The first steps of each row's own training, which the timing table leaves out."""


class Tune(Section):
    """How the trials of the rows that have some are compared."""

    options: dict[str, tuple[Any, ...]] = mark(DISPLAY)
    """Patterns (``methods.*.coef``) to values, as the file has them; each row's ``trials`` are what they come to."""
    metric: str = mark(RESULT)
    """``metric.column``, on the validation rows under the first decoding."""
    seeds: tuple[Seed, ...] = mark(RESULT)
    """The seeds that trials are trained with."""


TableName: TypeAlias = Literal[
    "scores", "cross-dataset", "fluency", "paid", "overoptimisation", "decoding", "seeds", "win-rates",
    "reward-model", "pareto", "budget", "timing", "signal", "claims", "cases", "published",
]  # fmt: skip


class Cases(Section):
    """Prompts whose answers are shown side by side, every row's, in files of their own."""

    dataset: str = mark(DISPLAY)
    """Label of a data set of ``evaluate``."""
    count: PositiveInt | None = mark(DISPLAY, None)
    """The first N prompts; 4 where neither ``count`` nor ``ids`` is given."""
    ids: tuple[str, ...] = mark(DISPLAY, ())
    """These prompts, by the ids of their rows."""
    decoding: str = mark(DISPLAY)
    """Whose answers: the name of a decoding, the first by default."""


class Overoptimisation(Section):
    """Gold against proxy reward over the distance from the start, and the form that is fitted to them.

    Each column is ``METRIC.COLUMN``, on the first data set under the first decoding.
    """

    gold: str = mark(DISPLAY)
    """What is wanted: more of it is better."""
    proxy: str = mark(DISPLAY)
    """What was trained on."""
    kl: str = mark(DISPLAY)
    """KL(policy || start) in nats an answer, such as ``divergence.answer_kl``; its root is the distance d."""
    form: Literal["rl", "bon"] = mark(DISPLAY, "rl")
    """What is fitted (Gao et al. 2023): ``rl`` d (alpha - beta log d), ``bon`` (best-of-n) d (alpha - beta d)."""


class Compare(Section):
    """Which rows the tables compare with each other."""

    baseline: str | None = mark(DISPLAY, None)
    """Label of the row that all others are compared with; the supervised start where None."""
    pairs: Literal["baseline", "all"] = mark(DISPLAY, "baseline")
    """``all`` compares every row with every other, and gives letters: rows that share one are not told apart."""


class Benchmark(Section):
    """A benchmark with one profile and all overrides applied."""

    benchmark: str = mark(DISPLAY)
    title: str = mark(DISPLAY, "")
    description: str = mark(DISPLAY, "")
    requires: tuple[str, ...] = mark(DISPLAY, ())
    profile: str = mark(DISPLAY)
    seeds: tuple[Seed, ...] = mark(RESULT, min_length=1)
    models: tuple[Model, ...] = mark(RESULT, min_length=1)
    template: Template = mark(RESULT)
    train: DataUse = mark(RESULT)
    validation: DataUse | None = mark(RESULT, None)
    evaluate: tuple[DataUse, ...] = mark(RESULT)
    """Empty, like ``decoding`` and ``metrics``, only where ``timing`` stands."""
    reward: Reward | None = mark(RESULT, None)
    reward_model: RewardModel | None = mark(RESULT, None)
    recipe: Recipe = mark(RESULT)
    decoding: dict[str, Decoding] = mark(RESULT)
    methods: tuple[MethodEntry, ...] = mark(RESULT)
    """Empty where nothing is trained: the untrained models, and rows from elsewhere."""
    elsewhere: tuple[ElsewhereEntry, ...] = mark(RESULT, ())
    """Rows whose model was trained elsewhere. No key of a file, in which they are entries of ``methods``."""
    metrics: tuple[MetricUse, ...] = mark(RESULT)
    timing: Timing | None = mark(DISPLAY, None)
    tune: Tune | None = mark(RESULT, None)
    scorer: Scorer = mark(RESULT, Scorer())
    tables: tuple[TableName, ...] = mark(DISPLAY, get_args(TableName))
    """Those that there is nothing to say in are left out."""
    compare: Compare = mark(DISPLAY, Compare())
    cases: Cases | None = mark(DISPLAY, None)
    pareto: tuple[str, ...] = mark(DISPLAY, ())
    """Two or three columns (METRIC.COLUMN) between which the rows of a sweep trade; ``-`` before one where less is
    better and the column itself does not say so."""
    overoptimisation: Overoptimisation | None = mark(DISPLAY, None)
    published: str | None = mark(DISPLAY, None)
    """Name of the published figures that tables of this profile put beside the measured ones."""
    sources: dict[str, str] = mark(RUNTIME, {})
    """Data set or model name to the path where it lies; part of no id."""
    execution: Execution = mark(RUNTIME, Execution())
    overrides: tuple[str, ...] = mark(DISPLAY, ())
    """The ``-o`` settings that were applied, other than ``sources.*``."""

    @property
    def chat(self) -> Template | None:
        """The template, where it is a chat template."""
        return self.template if self.template.chat else None
