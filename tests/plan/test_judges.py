"""What a judge adds to a plan: the answers of other rows as parents, and options that enter no id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from plan.files import Planner, small

from harness.errors import InputError, InputErrors
from harness.execution.preflight import preflight

if TYPE_CHECKING:
    from pathlib import Path

    from harness.plan import Plan, Stage

ENDPOINT = {"use": "win-rate", "judge": "endpoint", "model": "m", "api_key_env": "NO_SUCH_KEY_IS_SET"}


def judging(data: Path, judge: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return small(data, metrics=["rouge", judge], **changes)


def judged(stage: Stage) -> bool:
    return any(use.name == "win-rate" for _, use in stage.config.plugins())


def scores(plan: Plan) -> dict[str, Any]:
    return {f"{row.label} {row.seed}": cell.scores["win-rate"] for row in plan.rows for cell in row.cells}


def test_a_judge_reads_the_answers_of_the_same_model_seed_and_decoding(planner: Planner, data: Path) -> None:
    content = judging(data, {"use": "win-rate", "judge": "rule", "against": ["chosen", "eso", "base", "sft"]})
    plan = planner.plan(planner.load(content))
    for row in plan.rows:
        for cell in row.cells:
            parents = cell.scores["win-rate"].parents
            assert parents["samples"] is cell.generate
            for other in ("eso", "base", "sft"):
                there = next(r for r in plan.rows if (r.label, r.seed, r.model) == (other, row.seed, row.model))
                assert parents[f"opponent:{other}"] is there.cells[0].generate
            assert "opponent:chosen" not in parents
    order = list(plan.stages)
    assert all(order.index(p.key) < order.index(s.key) for s in plan.stages.values() for p in s.parents.values())


def test_a_judge_adds_no_training_and_no_answers(planner: Planner, data: Path) -> None:
    def others(content: dict[str, Any]) -> set[str | None]:
        stages = planner.plan(planner.load(content)).stages.values()
        return {stage.id for stage in stages if not judged(stage)}

    assert others(small(data)) == others(judging(data, {"use": "win-rate", "judge": "rule", "against": ["eso"]}))


def test_a_judge_is_asked_under_the_first_decoding_alone(planner: Planner, data: Path) -> None:
    content = judging(data, {"use": "win-rate", "judge": "rule"})
    content["decoding"]["greedy"] = {"temperature": 0, "max_new_tokens": 8}
    for row in planner.plan(planner.load(content)).rows:
        assert {cell.decoding: "win-rate" in cell.scores for cell in row.cells} == {"t1": True, "greedy": False}


def test_how_requests_are_sent_is_in_no_id_and_reaches_the_stage(planner: Planner, data: Path) -> None:
    sent = {"concurrency": 3, "retries": 9, "backoff": 2.5, "max_wait": 9.0, "timeout": 7.0, "max_calls": 5,
            "api_key_env": "ANOTHER"}  # fmt: skip
    plain = scores(planner.plan(planner.load(judging(data, ENDPOINT))))
    other = scores(planner.plan(planner.load(judging(data, {**ENDPOINT, **sent}))))
    assert {name: stage.id for name, stage in plain.items()} == {name: stage.id for name, stage in other.items()}
    for stage in other.values():
        assert not set(sent) & set(stage.config.metric.options)
        assert {name: stage.runtime.options[name] for name in sent} == sent


@pytest.mark.parametrize(
    "change",
    [{"model": "n"}, {"base_url": "http://localhost:1/v1"}, {"order": "random"}, {"ties": True},
     {"criterion": "is true"}, {"temperature": 1.0}, {"max_tokens": 9}, {"null_answer": "No."},
     {"against": ["eso"]}, {"column": "c"}, {"price_per_million": {"input": 1.0, "output": 2.0}}],
)  # fmt: skip
def test_what_can_change_a_verdict_is_in_the_id(planner: Planner, data: Path, change: dict[str, Any]) -> None:
    plain = scores(planner.plan(planner.load(judging(data, ENDPOINT))))
    other = scores(planner.plan(planner.load(judging(data, {**ENDPOINT, **change}))))
    assert not {stage.id for stage in plain.values()} & {stage.id for stage in other.values()}


def test_the_text_of_a_template_is_in_the_id_and_its_place_is_not(planner: Planner, data: Path, tmp_path: Path) -> None:
    text = "{prompt} {answer_a} {answer_b}"
    ids = []
    for name, content in [("a", text), ("b", text), ("c", f"{text}?")]:
        (tmp_path / name).write_text(content, encoding="utf-8")
        plan = planner.plan(planner.load(judging(data, {**ENDPOINT, "template": str(tmp_path / name)})))
        ids.append({stage.id for stage in scores(plan).values()})
    assert ids[0] == ids[1]
    assert not ids[0] & ids[2]


@pytest.mark.parametrize(
    ("against", "said"),
    [("esso", "got \"esso\"; did you mean 'eso'?"), ("zzz", 'got "zzz"; expected one of base, sft, eso')],
)
def test_an_opponent_that_is_no_row(planner: Planner, data: Path, against: str, said: str) -> None:
    content = judging(data, {"use": "win-rate", "judge": "rule", "against": ["chosen", against]})
    with pytest.raises(InputErrors) as caught:
        planner.load(content)
    assert len(caught.value.errors) == 1
    assert "bench.yaml:1:" in str(caught.value)
    assert f"metrics.win-rate: no row has this label, {said}" in str(caught.value)


def test_a_row_of_the_start_that_nobody_listed_is_an_opponent_too(planner: Planner, data: Path) -> None:
    judge = {"use": "win-rate", "judge": "rule", "against": ["sft"]}
    plan = planner.plan(planner.load(judging(data, judge, methods=["eso"])))
    assert all("opponent:sft" in stage.parents for stage in scores(plan).values())


def test_options_that_are_wrong_are_one_message(planner: Planner, data: Path) -> None:
    with pytest.raises(InputErrors) as caught:
        planner.load(judging(data, {"use": "win-rate", "against": ["nobody"]}))
    assert [error.what for error in caught.value.errors] == ["metrics.win-rate.judge: is missing"]


def test_a_judge_without_its_model(planner: Planner, data: Path) -> None:
    with pytest.raises(InputErrors, match="needs a reward model"):
        planner.load(judging(data, {"use": "win-rate", "judge": "reward-model"}))


def test_a_key_that_is_missing_is_said_once_before_anything_is_made(planner: Planner, data: Path) -> None:
    plan = planner.plan(planner.load(judging(data, ENDPOINT)))
    with pytest.raises(InputError, match="the environment variable NO_SUCH_KEY_IS_SET is not set") as caught:
        preflight(plan.todo(), planner.registry)
    assert "\n" not in str(caught.value)
    others = [stage for stage in plan.todo() if not judged(stage)]
    preflight(others, planner.registry)  # what is in the store already needs no key
