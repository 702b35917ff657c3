"""From a resolved benchmark to its graph of stages."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from harness.errors import InputError
from harness.plan.cells import data_label, row_of
from harness.plan.graph import Plan, RewardStages, Row, RowKind, Stage, StageKind, result_settings, stage_id, stage_key
from harness.plan.reference import reference_parents
from harness.plan.reward_model import reward_settings, reward_stages
from harness.plan.segments import NO_BOUND, method_segments, supervised_segments
from harness.plan.tuning import Tuned, held_chain, try_out
from harness.plugins import source_digest
from harness.spec.benchmark import MethodEntry, Model
from harness.stages.models import model_identity
from harness.store import CorruptError, Damage
from harness.training.schedule import position_epochs

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from harness.api import MethodRegistration
    from harness.plan.segments import Segment
    from harness.plugins import Registry
    from harness.spec.benchmark import Benchmark, DataUse
    from harness.store import Store

#: The core's packages whose source can change what a stage of a kind computes.
CODE: Mapping[str, tuple[str, ...]] = {
    "prepare": ("harness.api", "harness.lm", "harness.stages"),
    "train": ("harness.api", "harness.lm", "harness.training", "harness.stages"),
    "precompute": ("harness.api", "harness.lm", "harness.training", "harness.stages"),
    "generate": ("harness.api", "harness.lm", "harness.stages"),
    "score": ("harness.api", "harness.lm", "harness.stages"),
}

#: The distribution whose supervised method is taken where a file names none.
OWN = "posttune-harness"

#: Recipe fields that reach a training stage by another way (the curve, the segment) or only matter to some stages.
_ELSEWHERE = (
    "epochs", "method_epochs", "max_steps", "method_schedule", "learning_rate", "method_learning_rate",
    "min_learning_rate", "schedule", "restart_schedule", "warmup_steps", "method_warmup_steps",
    "generate_length", "suppress_stops",
)  # fmt: skip


def build_plan(benchmark: Benchmark, registry: Registry, store: Store, *, failed: Collection[str] = ()) -> Plan:
    """Return every stage of the benchmark, with what the store already holds marked as done.

    ``failed`` are keys of stages that will not be made: what is tuned is chosen without them.
    """
    return _Builder(benchmark, registry, store, failed).build()


@functools.cache
def code_digest(kind: str) -> str:
    """Return the digest of the core's source behind a kind of stage, as it was when this process first asked."""
    return source_digest(CODE[kind])


class _Builder:
    def __init__(self, benchmark: Benchmark, registry: Registry, store: Store, failed: Collection[str]) -> None:
        self.benchmark = benchmark
        self.registry = registry
        self.store = store
        self.failed = failed
        self.tuned: dict[tuple[str, str], Tuned] = {}
        self.stages: dict[str, Stage] = {}
        self.data_stages: dict[str, Stage] = {}
        self.row_counts: dict[str, int] = {}
        self.damaged: dict[str, Damage] = {}
        #: What a row's answers come from, by model, row and seed: a judge reads the answers of other rows.
        self.checkpoints: dict[tuple[str, str, int], Stage] = {}
        self.reward_models: dict[str, RewardStages] = {}
        self.preferences: list[Stage] = []
        self.shared = self.supervised()
        listed = self.shared in benchmark.methods
        self.entries: Sequence[MethodEntry] = benchmark.methods if listed else (self.shared, *benchmark.methods)
        self.device = {
            "device": benchmark.execution.device,
            "threads": benchmark.execution.threads,
        }

    def build(self) -> Plan:
        rows: list[Row] = []
        train = self.data(self.benchmark.train)
        validation = self.data(self.benchmark.validation) if self.benchmark.validation is not None else None
        evaluations = {data_label(use): self.data(use) for use in self.benchmark.evaluate}
        scorers = {}
        for model in self.benchmark.models:
            supervised = self.chain(model, self.shared, self.benchmark.seeds[0])[-1]
            if self.benchmark.reward_model is not None:
                self.reward_models[model.label or model.name] = reward_stages(self, model, supervised)
            scorer = self.scorer(supervised)
            scorers[model.label or model.name] = scorer
            chains: dict[tuple[str, int], tuple[Stage, ...]] = {}
            # it names what is shared
            for entry in sorted(self.entries, key=lambda entry: entry is not self.shared):
                if entry.trials:
                    self.tuned[model.label or model.name, entry.label] = try_out(self, model, entry, scorer)
                for seed in self.benchmark.seeds:
                    chains[entry.label, seed] = self.row_chain(model, entry, seed)
            for seed in self.benchmark.seeds:
                self.checkpoints[model.label or model.name, "base", seed] = self.model(model, seed)
                for entry in self.entries:
                    self.checkpoints[model.label or model.name, entry.label, seed] = chains[entry.label, seed][-1]
            for seed in self.benchmark.seeds:
                checkpoint = self.model(model, seed)
                rows.append(row_of(self, model, seed, None, "base", (), checkpoint, scorer))
                for entry in self.entries:
                    chain = chains[entry.label, seed]
                    kind: RowKind = "start" if entry is self.shared else "method"
                    rows.append(row_of(self, model, seed, entry, kind, chain, chain[-1], scorer))
        return Plan(
            self.stages,
            tuple(rows),
            train,
            validation,
            evaluations,
            scorers,
            self.reward_models,
            tuple(self.preferences),
            self.row_counts,
            self.tuned,
            {key: damage for key, damage in self.damaged.items() if key in self.stages},
        )

    def supervised(self) -> MethodEntry:
        """Return the row of the shared supervised method: the file's first such entry, or one made up for it.

        Without an entry the harness's own method is taken; a method of another distribution never takes its place.
        """
        offered = [row for row in self.registry.plugins if row.kind == "method" and row.registration is not None]
        names = [row.name for row in offered if self.method(row.name).supervised]
        listed = next((entry for entry in self.benchmark.methods if entry.use in names), None)
        if listed is not None:
            return listed
        own = [name for name in names if self.registry.find("method", name).distribution == OWN]
        if len(own or names) != 1:
            raise InputError(
                "methods starts from a supervised method, and it is not clear which"
                if names
                else "no installed plugin offers a supervised method to train the shared start",
                where="methods",
                expected=f"an entry for one of {', '.join(names)}" if names else "one registered with supervised=True",
            )
        name = (own or names)[0]
        registration = self.method(name)
        preset = registration.presets[registration.default_preset].options if registration.default_preset else {}
        try:
            options = self.registry.options("method", name, preset).model_dump(mode="json")
        except ValidationError as error:
            what = f"{name} trains the shared start and has options without a default: give them in an entry"
            raise InputError(what, where="methods", expected=f"{{use: {name}, …}}") from error
        return MethodEntry(use=name, label=name, options=options, recipe=self.benchmark.recipe)

    def method(self, name: str) -> MethodRegistration:
        registration: Any = self.registry.get("method", name)
        return registration  # type: ignore[no-any-return]  # the kind fixes the type

    def add(
        self,
        kind: StageKind,
        label: str,
        config: dict[str, Any],
        parents: Mapping[str, Stage],
        runtime: Mapping[str, Any] | None = None,
        *,
        content: str | None = None,
        content_of: str | None = None,
    ) -> Stage:
        """Add a stage once.

        ``content`` stands for it in its children's ids; where that is known only afterwards, ``content_of`` names the
        JSON file of the stage that holds it. Without either it is the id.
        """
        config = {**config, "code": code_digest(kind)}
        key = stage_key(kind, config, parents)
        if key in self.stages:
            return self.stages[key]
        identity = stage_id(kind, config, parents)
        record = self.store.look(kind, identity) if identity else None
        if content_of:
            known: Mapping[str, Any] = {}
            try:
                if record is not None and not isinstance(record, Damage):
                    known = record.json(content_of)
            except CorruptError as error:
                record = error.damage
            content = known.get("content")
            if "rows" in known:
                self.row_counts[key] = known["rows"]
        elif content is None:
            content = identity
        if isinstance(record, Damage):
            self.damaged[key] = record.known_as(label)
        done = record is not None and key not in self.damaged
        how = {**self.device, **(runtime or {})}
        self.stages[key] = Stage(kind, label, config, dict(parents), how, key, identity, content, done)
        return self.stages[key]

    def spoilt(self, stage: Stage, damage: Damage) -> Stage:
        """Take back that a stage without children is done: a file of it was read, and is not what was written."""
        self.damaged[stage.key] = damage
        self.stages[stage.key] = replace(stage, done=False)
        return self.stages[stage.key]

    def data(self, use: DataUse) -> Stage:
        wanted = use.model_dump_json()
        if wanted not in self.data_stages:
            self.data_stages[wanted] = self.data_stage(use)
        return self.data_stages[wanted]

    def data_stage(self, use: DataUse) -> Stage:
        dataset = self.registry.build("dataset", use.dataset, use.options)
        path = use.path
        config = {
            "what": "rows",
            "dataset": use.dataset,
            "options": use.options,
            "split": use.split,
            "limit": use.limit,
            "kind": use.kind,
            **({"pair_with": use.pair_with} if use.pair_with else {}),
            **({"train_on_reference": use.train_on_reference} if use.train_on_reference else {}),
            "identity": dict(dataset.identity(Path(path) if path else None)),
            "plugin": self.registry.fingerprint("dataset", use.dataset),
        }
        return self.add(
            "prepare", f"{use.dataset}/{use.split}", config, {}, {"path": path}, content_of="provenance.json"
        )

    def model(self, model: Model, seed: int) -> Stage:
        """Return the stage that provides the untrained checkpoint; new models have one for each seed."""
        label = model.label or model.name
        loaded = {"dtype": model.dtype, "attention": model.attention}
        if model.config is not None:
            tokenizer = self.add(
                "prepare",
                f"{label}/tokenizer",
                {
                    "what": "tokenizer",
                    "vocab_size": model.vocab_size,
                    "template": result_settings(self.benchmark.template),
                },
                {"rows": self.data(self.benchmark.train)},
            )
            config: dict[str, Any] = {"what": "new-model", "config": model.config, "seed": seed, "model": loaded}
            return self.add("prepare", f"{label}/weights/seed {seed}", config, {"tokenizer": tokenizer})
        identity = model_identity(model, model.path)
        config = {"what": "model", **identity, "model": loaded}
        runtime = {"path": model.path, "name": model.name}
        if "files" in identity:
            return self.add("prepare", label, config, {}, runtime, content=identity["files"])
        return self.add("prepare", label, config, {}, runtime, content_of="model.json")

    def chain(self, model: Model, entry: MethodEntry, seed: int) -> tuple[Stage, ...]:
        """Return the training stages of a row for one seed, the shared ones first."""
        stages: list[Stage] = []
        if entry is self.shared:
            segments = supervised_segments(entry.recipe)
        else:
            segments = method_segments(entry, self.shared.recipe)
            if entry.start == "after":
                stages += self.chain(model, self.shared, seed)
        for segment in segments:
            start = stages[-1] if stages else self.model(model, seed)
            stages.append(self.train(model, entry, seed, segment, start))
        return tuple(stages)

    def row_chain(self, model: Model, entry: MethodEntry, seed: int) -> tuple[Stage, ...]:
        """Return the training stages of a row, with what was chosen for it or as far as that is clear."""
        tuned = self.tuned.get((model.label or model.name, entry.label))
        if tuned is None:
            return self.chain(model, entry, seed)
        if tuned.chosen is None:
            return held_chain(self, model, entry, tuned, seed)
        return self.chain(model, tuned.trials[tuned.chosen].entry.model_copy(update={"label": entry.label}), seed)

    def train(self, model: Model, entry: MethodEntry, seed: int, segment: Segment, start: Stage) -> Stage:
        """Return one stage of a chain."""
        trained = entry if segment.active else self.shared
        registration = self.method(trained.use)
        registration = registration.resolved(self.registry.options("method", trained.use, trained.options))
        config: dict[str, Any] = {
            "method": trained.use,
            "options": trained.options,
            "plugin": self.registry.fingerprint("method", trained.use),
            "recipe": result_settings(entry.recipe, leave_out=_ELSEWHERE),
            "first": segment.first,
            "last": segment.last,
            "curve": segment.curve,
            "fresh_optimizer": segment.fresh,
            "seed": seed,
            "template": result_settings(self.benchmark.template),
            "model": {"dtype": model.dtype, "attention": model.attention},
        }
        if "reward" in registration.needs:
            config["reward"] = self.reward(trained.reward_weights)
        parents = {"rows": self.data(self.benchmark.train), "start": start}
        if "preferences" in registration.needs:
            self.preferences.append(parents["rows"])
        parents |= reference_parents(self, model, entry, registration, parents)
        if self.uses_reward_model(registration):
            config["reward_model"] = reward_settings(self.benchmark, model)
            parents |= self.reward_models[model.label or model.name].parents
        if not registration.supervised:
            config["recipe"]["generate_length"] = entry.recipe.generate_length
            config["recipe"]["suppress_stops"] = entry.recipe.suppress_stops
        runtime = {
            "tokens_per_micro_batch": entry.recipe.tokens_per_micro_batch,
            "gradient_checkpointing": entry.recipe.gradient_checkpointing,
        }
        label = f"{model.label or model.name}/{entry.label}/seed {seed}/{_span(segment.first, segment.last)}"
        if not segment.active:
            label += f" as {self.shared.label}"
        return self.add("train", label, config, parents, runtime)

    def uses_reward_model(self, registration: MethodRegistration) -> bool:
        """Return whether training by a method asks the reward model: the method itself, or its reward."""
        parts = self.benchmark.reward.parts if self.benchmark.reward and "reward" in registration.needs else ()
        rewards: list[Any] = [self.registry.get("reward", part.use) for part in parts]
        asks = "reward_model" in registration.needs or any("reward_model" in reward.needs for reward in rewards)
        if asks and self.benchmark.reward_model is None:
            what = "a method of this benchmark needs a reward model, and the file names none"
            raise InputError(what, expected="reward_model:")
        return asks

    def reward(self, weights: Mapping[str, float]) -> dict[str, Any]:
        reward = self.benchmark.reward
        if reward is None:
            raise InputError("a method of this benchmark needs a reward, and the file names none", expected="reward:")
        parts = [
            {
                **result_settings(part),
                "weight": weights.get(part.label, part.weight),
                "plugin": self.registry.fingerprint("reward", part.use),
            }
            for part in reward.parts
        ]
        return {"parts": parts, "aggregate": reward.aggregate}

    def scorer(self, start: Stage) -> Stage:
        name = self.benchmark.scorer.model
        if name == "start":
            return start
        listed = next((known for known in self.benchmark.models if name in {known.name, known.label}), None)
        return self.model(listed or Model(name=name, path=self.benchmark.sources.get(name)), self.benchmark.seeds[0])


def _span(first: Mapping[str, Any], last: Mapping[str, Any]) -> str:
    def place(position: Mapping[str, Any]) -> str:
        if "behind" in position:
            bound = f" (at most {position['steps']} steps)" if position["steps"] < NO_BOUND else ""
            return f"{position_epochs(position)}{bound}"
        return str(position["epoch"]) if "epoch" in position else f"step {position['step']}"

    return f"epochs {place(first)}-{place(last)}"
