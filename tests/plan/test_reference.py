"""The stage of reference log-probs: shared by what starts alike, and another one for whatever changes a value."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from plan.files import TINY_MODEL, Planner, release, small

from harness.execution.keep import required
from harness.plan.estimate import Estimate
from harness.spec.results.files import LOGPROBS
from harness.spec.stages.rows import RowsConfig

if TYPE_CHECKING:
    from pathlib import Path

    from harness.plan import Plan, Stage
    from harness.store.stages import Store

COLUMNS = {"completion": "chosen", "chosen": "chosen", "rejected": "rejected"}
KEYS = {"dataset": "files", "columns": COLUMNS}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    for split in ("train", "test"):
        rows = [{"prompt": f"{split} {n}?", "chosen": f"Yes, {n}.", "rejected": "No."} for n in range(4)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def content(pairs: Path, *methods: Any, **changes: Any) -> dict[str, Any]:
    use = {**KEYS, "path": str(pairs)}
    changes = {"train": use, "evaluate": [{**use, "label": "test"}], "seeds": [0], "reward": None, **changes}
    return small(pairs, methods=["sft", *(methods or ("dpo",))], **changes)


def beforehand(plan: Plan) -> list[Stage]:
    return [stage for stage in plan.stages.values() if stage.kind == "precompute"]


def the_id(planner: Planner, content: dict[str, Any]) -> str:
    (stage,) = beforehand(planner.plan(planner.load(content)))
    return str(stage.id)


def test_methods_that_start_alike_share_one_stage(planner: Planner, pairs: Path) -> None:
    variants = [
        "dpo",
        {"use": "dpo", "label": "ipo", "loss_type": "ipo"},
        {"use": "dpo", "label": "slow", "recipe": {"learning_rate": 1e-6, "batch_size": 1, "method_epochs": 2}},
    ]
    plan = planner.plan(planner.load(content(pairs, *variants, seeds=[0, 1])))
    stages = beforehand(plan)
    assert len(stages) == 2  # one a seed, since each seed has a start of its own
    for row in plan.rows:
        if row.method == "dpo":
            last = row.chain[-1]
            assert last.parents["reference_logprobs"] in stages
            assert last.parents["reference_logprobs"].parents == {
                "rows": plan.train, "start": last.parents["start"],
            }  # fmt: skip
        else:
            assert all("reference_logprobs" not in stage.parents for stage in row.chain)


def test_a_method_that_branches_off_has_its_own_start_as_reference(planner: Planner, pairs: Path) -> None:
    plan = planner.plan(planner.load(content(pairs, "dpo", {"use": "dpo", "label": "early", "start": "branch"})))
    starts = {stage.parents["start"].label for stage in beforehand(plan)}
    assert starts == {"new/sft/seed 0/epochs 0-2", "new/sft/seed 0/epochs 2-3"}


MODEL = {"name": "new", "config": TINY_MODEL, "vocab_size": 300}
RECIPE: dict[str, Any] = {"epochs": 3, "batch_size": 2, "max_prompt_length": 48, "max_completion_length": 24}


@pytest.mark.parametrize(
    "change",
    [
        {"template": {"text": "{instruction} -> "}},
        {"template": {"text": "Q: {instruction}\nA:"}},
        {"own": {"max_prompt_length": 40}},
        {"own": {"max_completion_length": 20}},
        {"own": {"train_eos": False}},
        {"recipe": {**RECIPE, "epochs": 2}},
        {"seeds": [1]},
        {"models": [{**MODEL, "dtype": "float64"}]},
        {"models": [{**MODEL, "attention": "eager"}]},
    ],
    ids=lambda change: json.dumps(change)[:40],
)
def test_what_changes_a_value_changes_the_id(planner: Planner, pairs: Path, change: dict[str, Any]) -> None:
    change = dict(change)
    entry = {"use": "dpo", "recipe": change.pop("own")} if "own" in change else "dpo"
    assert the_id(planner, content(pairs, entry, **change)) != the_id(planner, content(pairs))


@pytest.mark.parametrize(
    "change",
    [
        {"beta": 0.5}, {"loss_type": "hinge"}, {"disable_dropout": False}, {"label": "other"},
        {"recipe": {"dropout": 0.1}}, {"recipe": {"learning_rate": 1e-6, "batch_size": 1, "weight_decay": 0.0}},
        {"recipe": {"tokens_per_micro_batch": 100}},
    ],
    ids=json.dumps,
)  # fmt: skip
def test_what_changes_no_value_does_not(planner: Planner, pairs: Path, change: dict[str, Any]) -> None:
    assert the_id(planner, content(pairs, {"use": "dpo", **change})) == the_id(planner, content(pairs))


def test_the_stage_before_changes_what_is_trained_after_it(planner: Planner, pairs: Path) -> None:
    one, other = (
        planner.plan(planner.load(content(pairs, template={"text": text})))
        for text in ("{instruction}\n", "{instruction} ")
    )
    assert one.rows[-1].chain[-1].id != other.rows[-1].chain[-1].id


def test_its_cost_is_estimated(planner: Planner, pairs: Path) -> None:
    plan = planner.plan(planner.load(content(pairs)))
    longer = planner.plan(planner.load(content(pairs, {"use": "dpo", "recipe": {"max_prompt_length": 60}})))
    (stage,), (more,) = beforehand(plan), beforehand(longer)
    assert (Estimate(longer).tokens(more) or 0) > (Estimate(plan).tokens(stage) or 0) > 4
    assert (Estimate(longer).seconds(more) or 0) > (Estimate(plan).seconds(stage) or 0) > 0
    assert 0 < Estimate(plan).disk(stage) < 10_000
    trained = plan.rows[-1].chain[-1]
    assert (Estimate(plan).tokens(trained) or 0) > 0


def put(store: Store, stage: Stage, *names: str) -> None:
    with store.draft(stage.kind, stage.id or "") as draft:
        for name in names:
            (draft.folder / name).parent.mkdir(exist_ok=True)
            (draft.folder / name).write_text("x", encoding="utf-8")
        store.commit(draft, config=stage.config.to_json(), environment={}, label=stage.label)


def test_what_is_stored_is_kept_unless_nothing_is_and_made_again_where_it_is_read(
    planner: Planner, pairs: Path, tmp_path: Path
) -> None:
    own = Planner(tmp_path, planner.registry)

    def plan_of(keep: str) -> tuple[Any, Plan]:
        benchmark = own.load(content(pairs, recipe={**RECIPE, "keep": keep}))
        return benchmark, own.plan(benchmark)

    benchmark, plan = plan_of("final")
    for stage in plan.stages.values():
        if stage.kind == "train":
            put(own.store, stage, "checkpoint/model.safetensors", "optimizer.safetensors")
        elif stage.kind == "precompute":
            put(own.store, stage, LOGPROBS, "summary.json")
        elif not isinstance(stage.config, RowsConfig):
            put(own.store, stage, "model.json")
    benchmark, plan = plan_of("final")
    assert required(plan, own.store) == []
    release(plan, benchmark, own.store)
    (stage,) = beforehand(plan)
    record = own.store.find("precompute", stage.id or "")
    assert record is not None
    assert record.holds(LOGPROBS)
    benchmark, plan = plan_of("none")
    release(plan, benchmark, own.store)
    record = own.store.find("precompute", stage.id or "")
    assert record is not None
    assert not record.holds(LOGPROBS)
    assert record.holds("summary.json")
    assert required(plan, own.store) == []
    more = own.plan(own.load(content(pairs, "dpo", {"use": "dpo", "label": "more", "beta": 0.9})))
    kinds = [stage.kind for stage in required(more, own.store)]
    assert kinds.count("precompute") == 1
    assert kinds.count("train") == 3  # the new row, and the two that its start is made of
