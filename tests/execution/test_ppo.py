"""PPO through the command line: with a reward of text, and with a reward model from which its critic starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from execution.bench import Bench, tiny

if TYPE_CHECKING:
    from pathlib import Path


def trained(bench: Bench, label: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the summary and the log of the stage that a row's method had."""
    (record,) = [record for name, record in bench.stages("train").items() if f"/{label}/" in name]
    return record.json("summary.json"), list(record.jsonl("train.jsonl"))


def test_with_a_reward_of_text(tmp_path: Path) -> None:
    ppo = {"use": "ppo", "temperature": 1.0, "num_mini_batches": 2, "recipe": {"method_learning_rate": 1e-3}}
    bench = Bench(tmp_path, tiny(methods=["sft", ppo, {**ppo, "label": "shared", "critic": "shared"}]))
    bench.run("--jobs", "2")
    summary, log = trained(bench, "ppo")
    assert summary["active"] == {"policy": True, "value": True}
    held = {model["role"]: model["parameters"] for model in summary["models_held"]}
    assert set(held) == {"policy", "reference", "module critic"}
    assert held["module critic"] == held["policy"] + 33  # the body of a tied model is all of it; and the head
    assert {"objective/kl", "objective/scores", "explained_variance"} <= set(log[0]["method"])
    assert abs(log[0]["method"]["objective/kl"]) < 1e-5
    cheap, _ = trained(bench, "shared")
    assert {model["role"]: model["parameters"] for model in cheap["models_held"]}["module critic"] == 33
    rows = bench.tables()["scores"]["rows"]
    assert {row["label"] for row in rows} == {"base", "sft", "ppo", "shared"}


def test_with_a_reward_model_that_the_critic_starts_from(tmp_path: Path) -> None:
    ppo = {"use": "ppo", "critic": "reward_model", "recipe": {"method_learning_rate": 1e-3, "max_steps": 2}}
    content = tiny(
        methods=["sft", ppo],
        template={"text": "{prompt}", "truncate": "prompt"},
        train={"dataset": "generated-preferences", "limit": 30},
        evaluate=[{"dataset": "generated-preferences", "limit": 6, "label": "test"}],
        reward={"use": "reward-model"},
        reward_model={
            "use": "bradley-terry",
            "test": {"dataset": "generated-preferences", "split": "test", "limit": 10},
            "normalise": "zscore",
        },
    )
    bench = Bench(tmp_path / "with", content)
    bench.run("--jobs", "2")
    summary, log = trained(bench, "ppo")
    assert {model["role"] for model in summary["models_held"]} == {"policy", "reference", "reward", "module critic"}
    assert all(row["reward"]["missing"] == 0 for row in log)
    content["reward"] = {"use": "rouge"}
    del content["reward_model"]
    said = Bench(tmp_path / "without", content).run(code=2)
    assert "method ppo needs a reward model, and the file has none" in said
