"""What a plan is built from, piece by piece: each stage once, with what the store has of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.plan.graph import RewardStages, Stage, Tuned, config_digest, stage_id, stage_key
from harness.spec.results.models import PreparedModel
from harness.spec.results.provenance import DataProvenance
from harness.spec.runtime import Runtime
from harness.spec.stages.base import Loading, PluginUse
from harness.spec.stages.existing_model import ModelConfig
from harness.spec.stages.new_model import NewModelConfig, TokenizerConfig
from harness.spec.stages.rows import RowsConfig
from harness.stages.entries import code_digest
from harness.stages.models import content_of, model_source
from harness.store.damage import CorruptError, Damage

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from harness.api import MethodRegistration, MetricRegistration
    from harness.api.registration import Kind
    from harness.plugins.registry import Registry
    from harness.spec.benchmark import Benchmark, DataUse, MethodEntry, MetricUse
    from harness.spec.budget import BudgetPoint
    from harness.spec.model import Model
    from harness.spec.stages.existing_model import ClassifierConfig
    from harness.spec.stages.generate import GenerateConfig
    from harness.spec.stages.kinds import AnyStageConfig
    from harness.store.records import Record
    from harness.store.stages import Store

#: Files whose ``content`` stands for a stage in its children's ids.
ContentFile = DataProvenance | PreparedModel


@dataclass
class Planner:
    """The stages of a plan that is being built, and what is known of them on the way."""

    benchmark: Benchmark
    registry: Registry
    store: Store
    shared: MethodEntry | None
    """The row of the supervised method that all others start from; None where nothing is trained."""
    failed: Collection[str] = ()
    """Keys of stages that will not be made."""
    stages: dict[str, Stage] = field(default_factory=dict)
    """By key, parents before children."""
    row_counts: dict[str, int] = field(default_factory=dict)
    damaged: dict[str, Damage] = field(default_factory=dict)
    tuned: dict[tuple[str, str], Tuned] = field(default_factory=dict)
    """By model and row."""
    checkpoints: dict[tuple[str, str, int], Stage] = field(default_factory=dict)
    """What a row's answers come from, by model, row and seed: a judge reads the answers of other rows."""
    reward_models: dict[str, RewardStages] = field(default_factory=dict)
    preferences: list[Stage] = field(default_factory=list)
    """The rows that must have a chosen and a rejected answer."""
    answered: dict[tuple[str, str, str, int, BudgetPoint | None], GenerateConfig] = field(default_factory=dict)
    """How answers are drawn, by model, treatment of long prompts, decoding, seed and point of a budget: the same for
    all rows."""
    scored: dict[tuple[str, str, str, BudgetPoint | None], tuple[AnyStageConfig, Runtime]] = field(default_factory=dict)
    """How a metric reads answers, by model, treatment of long prompts, metric and point of a budget: the same for all
    rows and seeds."""
    _data: dict[str, Stage] = field(default_factory=dict)
    _metrics: dict[str, MetricRegistration] = field(default_factory=dict)
    _configs: dict[int, tuple[AnyStageConfig, AnyStageConfig, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._plain = self.runtime()

    @property
    def start(self) -> MethodEntry:
        """The row of the supervised method, where there are methods."""
        assert self.shared is not None  # whoever asks has a method
        return self.shared

    def method(self, name: str) -> MethodRegistration:
        """Return the registration of a method."""
        registration: Any = self.registry.get("method", name)
        return registration  # type: ignore[no-any-return]  # the kind fixes the type

    def metric(self, use: MetricUse) -> MetricRegistration:
        """Return the registration of one of the file's metrics, as its options make it."""
        if use.use not in self._metrics:
            registration: Any = self.registry.resolved("metric", use.use, use.options)
            self._metrics[use.use] = registration
        return self._metrics[use.use]

    def plugin(self, kind: Kind, name: str, options: Mapping[str, Any]) -> PluginUse:
        """Return a plugin as a stage uses it."""
        return PluginUse(name=name, options=dict(options), fingerprint=self.registry.fingerprint(kind, name))

    def add(
        self,
        label: str,
        config: AnyStageConfig,
        parents: Mapping[str, Stage],
        runtime: Runtime | None = None,
        *,
        content: str | None = None,
        content_of: type[ContentFile] | None = None,
    ) -> Stage:
        """Add a stage once.

        ``content`` stands for it in its children's ids; where that is known only afterwards, ``content_of`` is the file
        of the stage that says it. Without either it is the id.
        """
        config, asked = self._whole(config)
        key = stage_key(asked, parents)
        if key in self.stages:
            return self.stages[key]
        identity = stage_id(asked, parents)
        record = self.store.look(config.family, identity) if identity else None
        if content_of is not None:
            record, content = self._content(key, record, content_of)
        elif content is None:
            content = identity
        if isinstance(record, Damage):
            self.damaged[key] = record.known_as(label)
        done = record is not None and key not in self.damaged
        self.stages[key] = Stage(label, config, dict(parents), runtime or self._plain, key, identity, content, done)
        return self.stages[key]

    def _whole(self, config: AnyStageConfig) -> tuple[AnyStageConfig, str]:
        """Return a configuration with the digest of its code, and its own; stages that ask alike share one object."""
        kept = self._configs.get(id(config))
        if kept is None:
            whole = config.model_copy(update={"code": code_digest(config.kind)})
            kept = self._configs[id(config)] = (config, whole, config_digest(whole))  # kept, so that its id stays its
        return kept[1], kept[2]

    def runtime(self, **settings: Any) -> Runtime:
        """Return how a stage's work is done, as far as the file says it."""
        execution = self.benchmark.execution
        shard = execution.shard  # training alone asks for it
        return Runtime(device=execution.device, threads=execution.threads, shard=shard, **settings)

    def _content(
        self, key: str, record: Record | Damage | None, file: type[ContentFile]
    ) -> tuple[Record | Damage | None, str | None]:
        """Return what a stage's own file says that its content is, as far as the store has it."""
        if record is None or isinstance(record, Damage):
            return record, None
        try:
            result = record.read(file)
        except CorruptError as error:
            return error.damage, None
        if isinstance(result, DataProvenance):
            self.row_counts[key] = result.rows
        return record, result.content

    def spoilt(self, stage: Stage, damage: Damage) -> Stage:
        """Take back that a stage without children is done: a file of it was read, and is not what was written."""
        self.damaged[stage.key] = damage
        self.stages[stage.key] = replace(stage, done=False)
        return self.stages[stage.key]

    def data(self, use: DataUse) -> Stage:
        """Return the stage of a data set's rows."""
        wanted = use.model_dump_json()
        if wanted not in self._data:
            self._data[wanted] = self._rows(use)
        return self._data[wanted]

    def _rows(self, use: DataUse) -> Stage:
        dataset = self.registry.build("dataset", use.dataset, use.options)
        config = RowsConfig(
            dataset=self.plugin("dataset", use.dataset, use.options),
            identity=dict(dataset.identity(Path(use.path) if use.path else None)),
            split=use.split,
            limit=use.limit,
            rows_are=use.kind,
            pair_with=use.pair_with,
            train_on_reference=use.train_on_reference,
        )
        label = f"{use.dataset}/{use.split}"
        return self.add(label, config, {}, self.runtime(path=use.path), content_of=DataProvenance)

    def model(self, model: Model, seed: int) -> Stage:
        """Return the stage that provides the untrained checkpoint; new models have one for each seed."""
        if model.config is not None:
            assert model.vocab_size is not None  # checked with the file
            tokenizer = self.add(
                f"{model.shown}/tokenizer",
                TokenizerConfig(vocab_size=model.vocab_size, template=self.benchmark.template),
                {"rows": self.data(self.benchmark.train)},
            )
            drawn = NewModelConfig(architecture=model.config, seed=seed, loading=Loading.of(model))
            return self.add(f"{model.shown}/weights/seed {seed}", drawn, {"tokenizer": tokenizer})
        source = model_source(model, model.path)
        config = ModelConfig(source=source, loading=Loading.of(model), chat=self.benchmark.chat)
        return self.existing(model.shown, config, self.runtime(path=model.path, name=model.name, base=model.base))

    def existing(self, label: str, config: ModelConfig | ClassifierConfig, runtime: Runtime) -> Stage:
        """Return the stage that finds a model; what a folder holds is known now, what the hub has only then."""
        content = content_of(config.source)
        if content is not None:
            return self.add(label, config, {}, runtime, content=content)
        return self.add(label, config, {}, runtime, content_of=PreparedModel)
