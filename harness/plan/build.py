"""From a resolved benchmark to its graph of stages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.benchmark.schema import MethodEntry, Model
from harness.errors import InputError
from harness.plan.graph import Cell, Plan, Row, Stage, StageKind, result_settings, stage_id, stage_key
from harness.plan.segments import segments
from harness.plugins import source_digest
from harness.stages.models import model_identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.api import MethodRegistration, MetricRegistration
    from harness.benchmark.schema import Benchmark, DataUse
    from harness.plugins import Registry
    from harness.store import Store

#: The core's packages whose source can change what a stage of a kind computes.
CODE: Mapping[str, tuple[str, ...]] = {
    "prepare": ("harness.api", "harness.lm", "harness.stages"),
    "train": ("harness.api", "harness.lm", "harness.training", "harness.stages"),
    "precompute": ("harness.api", "harness.lm", "harness.stages"),
    "generate": ("harness.api", "harness.lm", "harness.stages"),
    "score": ("harness.api", "harness.lm", "harness.stages"),
}

#: Recipe fields that reach a training stage by another way (the curve, the segment) or only matter to some stages.
_ELSEWHERE = (
    "epochs", "method_epochs", "method_schedule", "learning_rate", "method_learning_rate", "min_learning_rate",
    "schedule", "restart_schedule", "warmup_steps", "generate_length",
)  # fmt: skip


def build_plan(benchmark: Benchmark, registry: Registry, store: Store) -> Plan:
    """Return every stage of the benchmark, with what the store already holds marked as done."""
    return _Builder(benchmark, registry, store).build()


def data_label(use: DataUse) -> str:
    """Return what tables call a data use."""
    return use.label or use.dataset


class _Builder:
    def __init__(self, benchmark: Benchmark, registry: Registry, store: Store) -> None:
        self.benchmark = benchmark
        self.registry = registry
        self.store = store
        self.stages: dict[str, Stage] = {}
        self.data_stages: dict[str, Stage] = {}
        self.identities: dict[str, dict[str, Any]] = {}
        self.row_counts: dict[str, int] = {}
        self.code = {kind: source_digest(packages) for kind, packages in CODE.items()}
        self.device = {
            "device": benchmark.execution.device,
            "threads": benchmark.execution.threads,
        }

    def build(self) -> Plan:
        rows: list[Row] = []
        data = {"train": self.data(self.benchmark.train)}
        if self.benchmark.validation is not None:
            data["validation"] = self.data(self.benchmark.validation)
        data |= {data_label(use): self.data(use) for use in self.benchmark.evaluate}
        scorers = {}
        for model in self.benchmark.models:
            entries = self.entries()
            chains = {
                (entry.label, seed): self.chain(model, entry, seed, supervised=supervised)
                for seed in self.benchmark.seeds
                for entry, supervised in entries
            }
            start = next(entry.label for entry, supervised in entries if supervised)
            scorer = self.scorer(chains[start, self.benchmark.seeds[0]][-1])
            scorers[model.label or model.name] = scorer
            for seed in self.benchmark.seeds:
                checkpoint = self.model(model, seed)
                rows.append(self.row(model, seed, None, "base", (), checkpoint, scorer))
                for entry, supervised in entries:
                    chain = chains[entry.label, seed]
                    kind = "start" if supervised else "method"
                    rows.append(self.row(model, seed, entry, kind, chain, chain[-1], scorer))
        return Plan(self.stages, tuple(rows), data, scorers, self.row_counts)

    def entries(self) -> list[tuple[MethodEntry, bool]]:
        """Return the method entries in the file's order, each with whether it is the shared supervised method.

        The supervised row is part of every table: where the file does not list it, it is put first.
        """
        chosen = list(self.benchmark.methods)
        supervised = self.supervised()
        listed = next((entry for entry in chosen if entry.use == supervised.name), None)
        if listed is None:
            options = supervised.options().model_dump(mode="json")
            listed = MethodEntry(
                use=supervised.name, label=supervised.name, options=options, recipe=self.benchmark.recipe
            )
            chosen.insert(0, listed)
        return [(entry, entry is listed) for entry in chosen]

    def supervised(self) -> MethodRegistration:
        names = [name for name in self.registry.names("method") if self.method(name).supervised]
        used = [entry.use for entry in self.benchmark.methods if entry.use in names]
        if not names:
            raise InputError(
                "no installed plugin offers a supervised method to train the shared start",
                expected="a method registered with supervised=True",
            )
        return self.method(used[0] if used else names[0])

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
        config = {**config, "code": self.code[kind]}
        key = stage_key(kind, config, parents)
        if key in self.stages:
            return self.stages[key]
        identity = stage_id(kind, config, parents)
        record = self.store.find(kind, identity) if identity else None
        if content_of:
            known = record.json(content_of) if record else {}
            content = known.get("content")
            if "rows" in known:
                self.row_counts[key] = known["rows"]
        elif content is None:
            content = identity
        stage = Stage(
            kind, label, config, dict(parents), {**self.device, **(runtime or {})}, key, identity, content, bool(record)
        )
        self.stages[key] = stage
        return stage

    def source(self, name: str, path: str | None) -> str | None:
        return self.benchmark.sources.get(name, path)

    def data(self, use: DataUse) -> Stage:
        wanted = use.model_dump_json()
        if wanted not in self.data_stages:
            self.data_stages[wanted] = self.data_stage(use)
        return self.data_stages[wanted]

    def data_stage(self, use: DataUse) -> Stage:
        dataset = self.registry.build("dataset", use.dataset, use.options)
        path = self.source(use.dataset, use.path)
        config = {
            "what": "rows",
            "dataset": use.dataset,
            "options": use.options,
            "split": use.split,
            "limit": use.limit,
            "identity": dict(dataset.identity(Path(path) if path else None)),
            "plugin": self.registry.fingerprint("dataset", use.dataset),
        }
        return self.add(
            "prepare", f"{use.dataset}/{use.split}", config, {}, {"path": path}, content_of="provenance.json"
        )

    def model(self, model: Model, seed: int) -> Stage:
        """Return the stage that provides the untrained checkpoint; new models have one for each seed."""
        label = model.label or model.name
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
            config: dict[str, Any] = {"what": "new-model", "config": model.config, "seed": seed}
            return self.add("prepare", f"{label}/weights/seed {seed}", config, {"tokenizer": tokenizer})
        path = self.source(model.name, self.source(label, model.path))
        identity = self.identities.setdefault(model.name, model_identity(model, path))
        config = {"what": "model", **identity}
        runtime = {"path": path, "name": model.name}
        if "files" in identity:
            return self.add("prepare", label, config, {}, runtime, content=identity["files"])
        return self.add("prepare", label, config, {}, runtime, content_of="model.json")

    def chain(self, model: Model, entry: MethodEntry, seed: int, *, supervised: bool) -> tuple[Stage, ...]:
        """Return the training stages of a row for one seed."""
        name = model.label or model.name
        shared = self.supervised()
        start = self.model(model, seed)
        stages: list[Stage] = []
        for number, segment in enumerate(segments(entry, supervised=supervised)):
            use = entry.use if segment.active else shared.name
            registration = self.method(use)
            options = entry.options if segment.active else self.shared_options(shared.name)
            recipe = result_settings(entry.recipe, leave_out=_ELSEWHERE)
            config: dict[str, Any] = {
                "method": use,
                "options": options,
                "plugin": self.registry.fingerprint("method", use),
                "recipe": recipe,
                "first": segment.first,
                "last": segment.last,
                "curve": segment.curve,
                "fresh_optimizer": segment.fresh,
                "seed": seed,
                "template": result_settings(self.benchmark.template),
                "model": {"dtype": model.dtype, "attention": model.attention},
            }
            if "reward" in registration.needs:
                config["reward"] = self.reward()
            if not registration.supervised:
                config["recipe"]["generate_length"] = entry.recipe.generate_length
            runtime = {
                "tokens_per_micro_batch": entry.recipe.tokens_per_micro_batch,
                "gradient_checkpointing": entry.recipe.gradient_checkpointing,
            }
            parents = {"rows": self.data(self.benchmark.train), "start": stages[-1] if stages else start}
            own = entry.label if segment.active and not (supervised and number == 0) else use
            label = f"{name}/{own}/seed {seed}/{_span(segment.first, segment.last)}"
            stages.append(self.add("train", label, config, parents, runtime))
        return tuple(stages)

    def shared_options(self, name: str) -> dict[str, Any]:
        """Return the options of the shared supervised method: those of its entry in the file, if it has one."""
        listed = next((entry.options for entry in self.benchmark.methods if entry.use == name), None)
        return listed if listed is not None else self.method(name).options().model_dump(mode="json")

    def reward(self) -> dict[str, Any]:
        reward = self.benchmark.reward
        if reward is None:
            raise InputError("a method of this benchmark needs a reward, and the file names none", expected="reward:")
        parts = [
            {**result_settings(part), "plugin": self.registry.fingerprint("reward", part.use)} for part in reward.parts
        ]
        return {"parts": parts, "aggregate": reward.aggregate}

    def scorer(self, start: Stage) -> Stage:
        name = self.benchmark.scorer.model
        if name == "start":
            return start
        listed = next((known for known in self.benchmark.models if name in {known.name, known.label}), None)
        return self.model(listed or Model(name=name), self.benchmark.seeds[0])

    def row(
        self,
        model: Model,
        seed: int,
        entry: MethodEntry | None,
        kind: Any,
        chain: tuple[Stage, ...],
        checkpoint: Stage,
        scorer: Stage,
    ) -> Row:
        label = entry.label if entry else "base"
        cells = tuple(
            self.cell(model, label, seed, use, decoding, checkpoint, scorer)
            for use in self.benchmark.evaluate
            for decoding in self.benchmark.decoding
        )
        method = entry.use if entry else None
        return Row(label, kind, method, model.label or model.name, seed, chain, checkpoint, cells)

    def cell(
        self, model: Model, label: str, seed: int, use: DataUse, decoding: str, checkpoint: Stage, scorer: Stage
    ) -> Cell:
        rows = self.data(use)
        dataset = data_label(use)
        where = f"{model.label or model.name}/{label}/seed {seed}/{dataset}/{decoding}"
        settings = {
            "template": result_settings(self.benchmark.template),
            "max_prompt_length": self.benchmark.recipe.max_prompt_length,
            "overlong": use.overlong,
            "model": {"dtype": model.dtype, "attention": model.attention},
        }
        generate = self.add(
            "generate",
            where,
            {**settings, "decoding": result_settings(self.benchmark.decoding[decoding]), "seed": seed},
            {"checkpoint": checkpoint, "rows": rows},
        )
        scores = {}
        for metric in self.benchmark.metrics:
            registration: Any = self.registry.get("metric", metric.use)
            registration = registration.resolved(self.registry.options("metric", metric.use, metric.options))
            scores[metric.use] = self.score(registration, metric.options, where, settings, generate, rows, scorer)
        return Cell(dataset, decoding, generate, scores)

    def score(
        self,
        registration: MetricRegistration,
        options: dict[str, Any],
        where: str,
        settings: dict[str, Any],
        generate: Stage,
        rows: Stage,
        scorer: Stage,
    ) -> Stage:
        config: dict[str, Any] = {
            "metric": registration.name,
            "options": options,
            "plugin": self.registry.fingerprint("metric", registration.name),
        }
        parents = {"samples": generate, "rows": rows}
        if registration.needs:
            config |= settings
        if "policy" in registration.needs:
            parents["policy"] = generate.parents["checkpoint"]
        if "scorer" in registration.needs:
            parents["scorer"] = scorer
        return self.add("score", f"{where}/{registration.name}", config, parents)


def _span(first: Mapping[str, int], last: Mapping[str, int]) -> str:
    def place(position: Mapping[str, int]) -> str:
        return str(position["epoch"]) if "epoch" in position else f"step {position['step']}"

    return f"epochs {place(first)}-{place(last)}"


def in_order(stages: Iterable[Stage]) -> list[Stage]:
    """Return stages with parents before children, each once."""
    ordered: dict[str, Stage] = {}

    def visit(stage: Stage) -> None:
        if stage.key not in ordered:
            for parent in stage.parents.values():
                visit(parent)
            ordered[stage.key] = stage

    for stage in stages:
        visit(stage)
    return list(ordered.values())
