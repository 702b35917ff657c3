"""What failed, what is not stored and what was never asked for are three things; and rows made alike are said to be."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from report.synthetic import ENVIRONMENT, GREEDY, METRICS, T1, Run, step, summary
from stages import configs

from harness.report.cases import case_studies
from harness.report.export import json_value
from harness.report.results import load_results
from harness.report.write import build
from harness.store.stages import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from harness.report.results import Results

TABLES = ("scores", "cross-dataset", "decoding", "timing", "signal", "seeds")


@pytest.fixture
def wide(run: Run) -> Run:
    run.tables = TABLES
    run.datasets = {"in-data": "in-data", "shifted": "cross"}
    run.decodings = {"t1": T1, "greedy": GREEDY}
    return run


def cells(results: Results) -> dict[str, dict[str, Any]]:
    """Return what the method's row has in every table."""
    tables = json_value({}, build(results).tables)["tables"]
    return {
        name: next(row["cells"] for row in tables[name]["rows"] if row["label"] == "eso")
        for name in ("summary", *TABLES)
    }


def statuses(results: Results) -> dict[str, set[str | None]]:
    return {
        name: {cell.get("status") for key, cell in row.items() if key != "seeds"}
        for name, row in cells(results).items()
    }


def stages(manifest: Mapping[str, Any], row: str) -> Iterator[tuple[str, str]]:
    """Give kind and id of every stage of a row."""
    described = next(found for found in manifest["rows"] if found["label"] == row)
    for seed in described["seeds"].values():
        yield from (("train", stage) for stage in seed["train"])
        for decodings in seed["evaluations"].values():
            for evaluation in decodings.values():
                yield "generate", evaluation["generate"]
                yield from (("score", stage) for stage in evaluation["scores"].values())


def read(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return manifest


def test_a_row_whose_stages_are_gone_did_not_fail(wide: Run) -> None:
    folder = wide.write()
    store = Store(wide.root)
    for kind, stage in stages(read(folder), "eso"):
        shutil.rmtree(store.folder(kind, stage))
    assert statuses(load_results(wide.root, folder)) == {name: {"not stored"} for name in ("summary", *TABLES)}


def test_a_row_that_failed_did(wide: Run) -> None:
    wide.unfinished = {("eso", "train", str(seed)) for seed in wide.seeds}
    found = statuses(load_results(wide.root, wide.write()))
    assert found.pop("seeds") == {"failed"}
    assert found == {name: {"failed"} for name in found}


def test_what_was_never_asked_for_did_not_fail(wide: Run) -> None:
    def drop(manifest: dict[str, Any]) -> None:
        row = next(row for row in manifest["rows"] if row["label"] == "eso")
        for seed in row["seeds"].values():
            seed["evaluations"].pop("shifted")
            seed["evaluations"]["in-data"]["t1"]["scores"].pop("other")

    wide.metrics = [*METRICS, {**METRICS[0], "use": "other"}]
    wide.change = drop
    found = cells(load_results(wide.root, wide.write()))
    assert {cell.get("status") for key, cell in found["cross-dataset"].items() if key != "seeds"} == {"not evaluated"}
    assert found["scores"]["in-data/other.rougeL"] == {"status": "not scored"}
    assert {cell.get("status") for key, cell in found["seeds"].items() if "other" in key} == {"not scored"}


def test_one_seed_that_is_gone_did_not_fail(wide: Run) -> None:
    folder = wide.write()
    row = next(row for row in read(folder)["rows"] if row["label"] == "eso")
    gone = row["seeds"]["1"]["evaluations"]["in-data"]["t1"]["scores"]["rouge"]
    shutil.rmtree(Store(wide.root).folder("score", gone))
    found = cells(load_results(wide.root, folder))["seeds"]
    assert [cell.get("status") for key, cell in found.items() if key.endswith("/1")] == ["not stored"]
    assert not any(cell.get("status") for key, cell in found.items() if not key.endswith("/1"))


def test_a_case_that_no_row_was_asked_did_not_fail(wide: Run) -> None:
    def drop(manifest: dict[str, Any]) -> None:
        manifest["config"]["cases"] = {"dataset": "shifted", "decoding": "t1", "count": 1, "ids": []}
        row = next(row for row in manifest["rows"] if row["label"] == "eso")
        for seed in row["seeds"].values():
            seed["evaluations"].pop("shifted")

    wide.prompts = lambda index: {"fields": {"prompt": f"question {index}"}}
    wide.change = drop
    found = case_studies(load_results(wide.root, wide.write()))
    assert found is not None
    assert {answer.text for case in found.cases for answer in case.answers if answer.name == "eso"} == {"not evaluated"}


def test_a_reward_model_that_existed_has_its_name(run: Run) -> None:
    run.reward_models = {"tiny": {}}
    run.tables = ("reward-model",)
    model = {"name": "somebody/judge", "label": None, "path": None, "revision": "f" * 40, "config": None}
    run.change = lambda manifest: manifest["config"].update(reward_model={"use": None, "model": model})
    results = load_results(run.root, run.write())
    table = next(table for table in build(results).tables if table.name == "reward-model")
    assert [row.label for row in table.rows] == ["somebody/judge"]


def test_two_processes_that_train_are_no_difference_between_rows(run: Run) -> None:
    folder = run.write()
    store = Store(run.root)
    for row in ("sft", "eso"):
        for kind, stage in stages(read(folder), row):
            if kind == "train":
                shutil.rmtree(store.folder(kind, stage))
                with store.draft(kind, stage) as draft:
                    draft.write_jsonl("train.jsonl", [step(row)])
                    draft.write_json("summary.json", summary(row))
                    store.commit(
                        draft,
                        config=configs.train_config(row).to_json(),
                        environment={**ENVIRONMENT, "ranks": 2},
                        label=row,
                    )
    setup = build(load_results(run.root, folder)).setup
    assert setup["Versions"] == (
        "Made with threads 1, device cpu, ranks 2 to train and 1 to answer, python 3.11, torch 2.13.0."
    )


def signal(run: Run, own: list[dict[str, Any]]) -> dict[str, Any]:
    shutil.rmtree(run.root, ignore_errors=True)
    run.tables = ("signal",)
    run.log = lambda row, _seed: [step(row)] if row == "sft" else own
    tables = json_value({}, build(load_results(run.root, run.write())).tables)["tables"]
    return next(row["cells"] for row in tables["signal"]["rows"] if row["label"] == "eso")


def test_a_methods_own_gradient_is_that_of_all_its_terms_together(run: Run) -> None:
    norms = {"sft": 2.0, "eso": 0.5, "logged": 0.0}
    logged = {**step("eso"), "grad_norm": 2.1, "grad_norms": norms, "grad_norms_without": {"sft": 0.5}}
    assert signal(run, [logged])["method_norm"] == {"value": 0.5}
    alone = {**step("eso"), "grad_norm": 2.5, "grad_norms": {"policy": 2.0, "value": 1.5}}
    assert signal(run, [alone])["method_norm"] == {"value": 2.5}
    unknown = {**step("eso"), "grad_norms": norms}  # without what the two come to there is nothing to show
    assert signal(run, [unknown])["method_norm"] == {}


def test_one_candidate_a_prompt_has_no_spread_even_where_a_reward_is_missing(run: Run) -> None:
    alone = {key: value for key, value in step("eso").items() if key != "groups"}
    rewarded = {**alone, "reward": {"mean": 0.5, "by_candidate": [0.5], "missing": 0}}
    found = signal(run, [rewarded, {**alone, "reward": {"missing": 4}}])
    assert (found["without_spread"], found["reward_sd"], found["reward"]) == ({}, {}, {"value": 0.5})


def test_what_a_metric_says_of_its_answers_is_said_once(run: Run) -> None:
    folder = run.write()
    store = Store(run.root)
    for seed, stage in enumerate(stage for kind, stage in stages(read(folder), "eso") if kind == "score"):
        record = store.open("score", stage)
        means, numbers, config = record.json("means.json"), record.json("metrics.json"), record.json("config.json")
        shutil.rmtree(store.folder("score", stage))
        with store.draft("score", stage) as draft:
            draft.write_jsonl("values.jsonl", [])
            draft.write_json("means.json", means)
            draft.write_json("metrics.json", {**numbers, "notes": {"answers that it cannot read": seed + 1}})
            store.commit(draft, config=config, environment=ENVIRONMENT, label="again")
    table = next(table for table in build(load_results(run.root, folder)).tables if table.name == "scores")
    said = [line for line in table.caption if "cannot read" in line]
    assert said == ["rouge on in-data: answers that it cannot read: up to 6 a row, over all seeds and draws."]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"reward": {"missing": 8}}, "no sample had a reward"),
        ({"groups": {"count": 4, "without_spread": 4}}, "all candidates of every prompt had the same reward"),
    ],
)
def test_an_inactive_row_says_why(run: Run, changed: dict[str, Any], why: str) -> None:
    run.trained = lambda row, _seed: {"active": {"sft": True, "eso": False}} if row == "eso" else {}
    run.log = lambda row, _seed: [{**step(row), **(changed if row == "eso" else {})}]
    run.tables = ("signal",)
    table = next(table for table in build(load_results(run.root, run.write())).tables if table.name == "signal")
    assert table.caption[-1] == f"Inactive: eso: {why}."


def test_an_inactive_row_says_what_its_reward_could_not_read(run: Run) -> None:
    run.trained = lambda row, _seed: {"active": {"sft": True, "eso": False}} if row == "eso" else {}
    unread = {"reward": {"missing": 8, "notes": {"rouge: share of samples in letters of which it reads none": 1.0}}}
    run.log = lambda row, _seed: [{**step(row), **(unread if row == "eso" else {})}]
    run.tables = ("signal",)
    table = next(table for table in build(load_results(run.root, run.write())).tables if table.name == "signal")
    assert table.caption[-1] == (
        "Inactive: eso: no sample had a reward; rouge: share of samples in letters of which it reads none 1."
    )
