"""From a resolved benchmark to its graph of stages."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from harness.errors import InputError
from harness.plan.cells import Answerer, data_label, row_of
from harness.plan.chains import chain_of
from harness.plan.elsewhere import elsewhere_rows
from harness.plan.graph import Plan, Row, Stage
from harness.plan.planner import Planner
from harness.plan.reward_stages import reward_stages
from harness.plan.tuning import held_chain, try_out
from harness.spec.benchmark import MethodEntry
from harness.spec.model import Model
from harness.spec.stages.train import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from harness.plugins.registry import Registry
    from harness.spec.benchmark import Benchmark, DataUse
    from harness.spec.results.run import RowKind
    from harness.store.stages import Store

#: The distribution whose supervised method is taken where a file names none.
OWN = "posttune-harness"


def build_plan(benchmark: Benchmark, registry: Registry, store: Store, *, failed: Collection[str] = ()) -> Plan:
    """Return every stage of the benchmark, with what the store already holds marked as done.

    ``failed`` are keys of stages that will not be made: what is tuned is chosen without them.
    """
    shared = _supervised(benchmark, registry) if benchmark.methods else None
    entries: Sequence[MethodEntry] = benchmark.methods
    if shared is not None and shared not in entries:
        entries = (shared, *entries)
    planner = Planner(benchmark, registry, store, shared, failed)
    train = planner.data(benchmark.train)
    validation = planner.data(benchmark.validation) if benchmark.validation is not None else None
    evaluations = {data_label(use): planner.data(use) for use in benchmark.evaluate}
    rows: list[Row] = []
    scorers = {}
    for model in benchmark.models:
        seed = benchmark.seeds[0]
        untrained = planner.model(model, seed)
        supervised = untrained if shared is None else chain_of(planner, model, shared, seed)[-1]
        if benchmark.reward_model is not None:
            planner.reward_models[model.shown] = reward_stages(planner, model, supervised)
        scorers[model.shown] = _scorer(planner, model, supervised)
        rows += _rows(planner, model, entries, scorers[model.shown])
        for entry in benchmark.elsewhere:
            if entry.model in {None, model.shown}:
                rows += elsewhere_rows(planner, model, entry, scorers[model.shown])
    return Plan(
        planner.stages,
        tuple(rows),
        train,
        validation,
        evaluations,
        scorers,
        planner.reward_models,
        tuple(planner.preferences),
        planner.row_counts,
        planner.tuned,
        {key: damage for key, damage in planner.damaged.items() if key in planner.stages},
    )


def data_stage(benchmark: Benchmark, registry: Registry, store: Store, use: DataUse) -> Stage:
    """Return the stage that prepares the rows of one of the benchmark's uses of a data set."""
    return Planner(benchmark, registry, store, _supervised(benchmark, registry)).data(use)


def _rows(planner: Planner, model: Model, entries: Sequence[MethodEntry], scorer: Stage) -> list[Row]:
    """Return all rows of one model, seed by seed."""
    seeds = planner.benchmark.seeds
    chains: dict[tuple[str, int], tuple[Stage, ...]] = {}
    for entry in sorted(entries, key=lambda entry: entry is not planner.shared):  # it names what is shared
        if entry.trials:
            planner.tuned[model.shown, entry.label] = try_out(planner, model, entry, scorer)
        for seed in seeds:
            chains[entry.label, seed] = _chain(planner, model, entry, seed)
    for seed in seeds:
        planner.checkpoints[model.shown, "base", seed] = planner.model(model, seed)
        for entry in entries:
            planner.checkpoints[model.shown, entry.label, seed] = chains[entry.label, seed][-1]
    rows = []
    for seed in seeds:
        untrained = Answerer(model, "base", seed, planner.model(model, seed), scorer)
        rows.append(row_of(planner, untrained, None, "base", ()))
        for entry in entries:
            chain = chains[entry.label, seed]
            kind: RowKind = "start" if entry is planner.shared else "method"
            answerer = Answerer(model, entry.label, seed, chain[-1], scorer)
            rows.append(row_of(planner, answerer, entry, kind, chain))
            config = chain[-1].config
            points = config.budget.points if isinstance(config, TrainConfig) and config.budget is not None else ()
            for point in points:
                there = replace(answerer, label=f"{entry.label} at {point.name}", at=point)
                rows.append(row_of(planner, there, None, "point", chain, of=entry.label))
    return rows


def _chain(planner: Planner, model: Model, entry: MethodEntry, seed: int) -> tuple[Stage, ...]:
    """Return the training stages of a row, with what was chosen for it or as far as that is clear."""
    tuned = planner.tuned.get((model.shown, entry.label))
    if tuned is None:
        return chain_of(planner, model, entry, seed)
    if tuned.chosen is None:
        return held_chain(planner, model, entry, tuned, seed)
    chosen = tuned.trials[tuned.chosen].entry.model_copy(update={"label": entry.label})
    return chain_of(planner, model, chosen, seed)


def _supervised(benchmark: Benchmark, registry: Registry) -> MethodEntry:
    """Return the row of the shared supervised method: the file's first such entry, or one made up for it.

    Without an entry the harness's own method is taken; a method of another distribution never takes its place.
    """
    offered = [row for row in registry.plugins if row.kind == "method" and row.registration is not None]
    names = [row.name for row in offered if getattr(row.registration, "supervised", False)]
    listed = next((entry for entry in benchmark.methods if entry.use in names), None)
    if listed is not None:
        return listed
    own = [name for name in names if registry.find("method", name).distribution == OWN]
    if len(own or names) != 1:
        raise InputError(
            "methods starts from a supervised method, and it is not clear which"
            if names
            else "no installed plugin offers a supervised method to train the shared start",
            where="methods",
            expected=f"an entry for one of {', '.join(names)}" if names else "one registered with supervised=True",
        )
    name = (own or names)[0]
    registration: Any = registry.get("method", name)
    preset = registration.presets[registration.default_preset].options if registration.default_preset else {}
    try:
        options = registry.options("method", name, preset).model_dump(mode="json")
    except ValidationError as error:
        what = f"{name} trains the shared start and has options without a default: give them in an entry"
        raise InputError(what, where="methods", expected=f"{{use: {name}, …}}") from error
    return MethodEntry(use=name, label=name, options=options, recipe=benchmark.recipe)


def _scorer(planner: Planner, model: Model, start: Stage) -> Stage:
    benchmark = planner.benchmark
    name = benchmark.scorer.model
    if name == "start":
        return start
    listed = next((each for each in benchmark.models if name in {each.name, each.label}), None)
    path = benchmark.sources.get(name)
    other = Model(name=name, path=path, dtype=model.dtype, attention=model.attention)  # loaded as the policy is
    return planner.model(listed or other, benchmark.seeds[0])
