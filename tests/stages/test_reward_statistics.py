"""The statistics stage: what scores are normalised by, and the held-out pairs, on made-up and on real rows."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file
from stages import configs
from stages.requests import request, silent

from harness.errors import InputError
from harness.execution.tiny import TINY, tiny_examples, tiny_policy
from harness.lm.model.policy import Policy
from harness.lm.score.reward_model import RewardModel
from harness.plugins.loader import load_registry
from harness.spec.model import Template
from harness.spec.stages.base import RewardModelUse
from harness.stages import reward_statistics
from harness.store.stages import Store
from harness.text.formats import answer_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.api import Example
    from harness.spec.stages.reward_statistics import RewardStatisticsConfig
    from harness.store.records import Record


def rows(store: Store, name: str, examples: Sequence[Example]) -> Record:
    with store.draft("prepare", name) as draft:
        draft.write_jsonl("rows.jsonl", [dataclasses.asdict(example) for example in examples])
        return store.commit(draft, config={}, environment={}, label=name)


def judge(store: Store, policy: Any, scale: float = 1.0) -> Record:
    """Store a reward model: a policy's weights and a head."""
    width = policy.model.get_output_embeddings().weight.shape[1]
    with store.draft("train", "judge") as draft:
        policy.save(draft.folder / "checkpoint")
        weight = scale * torch.linspace(-1, 1, width, dtype=torch.float64)[None]
        save_file(
            {"reward_head.weight": weight, "reward_head.bias": torch.ones(1)}, draft.folder / "modules.safetensors"
        )
        return store.commit(draft, config={}, environment={}, label="judge")


def settings(normalise: str, **changes: Any) -> RewardStatisticsConfig:
    use = RewardModelUse(loading=configs.loading(dtype="float64"), template=configs.TEMPLATE, max_prompt_length=64)
    return configs.statistics_config(**{"normalise": normalise, "reward_model": use, **changes})


def run(store: Store, config: RewardStatisticsConfig, **parents: Record) -> Record:
    return reward_statistics.run(request(store.root, config, **parents), store, load_registry(), silent)


def raw(store: Store, record: Record, prompts: list[str], texts: list[str]) -> list[float]:
    folder, head = record.path("checkpoint"), record.path("modules.safetensors")
    policy = Policy.load(folder, spec=TINY)
    return RewardModel.trained(policy, head, template=configs.TEMPLATE, max_prompt=64).score(prompts, texts)


def test_statistics_are_those_of_the_demonstrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    model, examples = judge(store, tiny_policy()), tiny_examples()
    train, test = rows(store, "train", examples), rows(store, "test", examples[:3])
    record = run(store, settings("zscore"), reward_model=model, rows=train, pairs=test)
    prompts = [f"{example.fields['instruction']}:" for example in examples]
    scores = raw(store, model, prompts, [example.completion or "" for example in examples])
    mean = math.fsum(scores) / 8
    summary = record.json("summary.json")
    assert summary["mean"] == pytest.approx(mean)
    assert summary["sd"] == pytest.approx(math.sqrt(sum((score - mean) ** 2 for score in scores) / 7))
    assert (summary["n"], summary["normalise"], summary["model"]) == (8, "zscore", model.id)
    assert summary["parameters"] == tiny_policy().parameter_count + 9
    pairs = list(record.jsonl("pairs.jsonl"))
    assert [row["id"] for row in pairs] == [example.id for example in examples[:3]]
    for side in ("chosen", "rejected"):
        texts = [getattr(example, side) for example in examples[:3]]
        assert [row[side] for row in pairs] == pytest.approx(raw(store, model, prompts[:3], texts))  # not normalised
        sizes = [
            len(tiny_policy().tokeniser.completion(answer_text(p, t))) for p, t in zip(prompts, texts, strict=False)
        ]
        assert [row[f"{side}_tokens"] for row in pairs] == sizes
    monkeypatch.setattr(reward_statistics, "SET", 5)
    few = run(store, settings("shift"), reward_model=model, rows=train)
    assert few.json("summary.json")["mean"] == pytest.approx(math.fsum(scores[:5]) / 5)
    assert list(few.jsonl("pairs.jsonl")) == []


def test_a_row_without_a_demonstration_has_its_chosen_answer(tmp_path: Path) -> None:
    store = Store(tmp_path)
    model = judge(store, tiny_policy())
    preferences = [dataclasses.replace(example, completion=None) for example in tiny_examples()]
    record = run(store, settings("shift"), reward_model=model, rows=rows(store, "train", preferences))
    assert record.json("summary.json")["n"] == 8


def test_without_any_demonstration_nothing_can_be_normalised(tmp_path: Path) -> None:
    store = Store(tmp_path)
    model = judge(store, tiny_policy())
    bare = [dataclasses.replace(e, completion=None, chosen=None, rejected=None) for e in tiny_examples()]
    train = rows(store, "train", bare)
    with pytest.raises(InputError, match="no demonstration to normalise the reward model's scores by"):
        run(store, settings("shift"), reward_model=model, rows=train)
    summary = run(store, settings("none"), reward_model=model, rows=train).json("summary.json")
    assert (summary["n"], summary["mean"], summary["sd"]) == (0, 0.0, 0.0)


def test_equal_scores_have_no_z_score(tmp_path: Path) -> None:
    store = Store(tmp_path)
    model, train = judge(store, tiny_policy(), scale=0.0), rows(store, "train", tiny_examples())
    with pytest.raises(InputError, match="all demonstrations the same score"):
        run(store, settings("zscore"), reward_model=model, rows=train)


def test_real_dialogues_of_several_turns(tmp_path: Path, real_data: Path, real_model: Path) -> None:
    """Sixty real pairs go through: one finite score a side, the same for a pair by itself."""
    from harness.lm.model.policy import Policy
    from harness.spec.model import Model

    registry, store = load_registry(), Store(tmp_path / "results")
    options = {"train_files": [], "test_files": ["helpful-base/test"]}
    dataset = registry.build("dataset", "anthropic-hh", options)
    (tmp_path / "hh").mkdir()
    dataset.prepare(real_data / "hh-rlhf", tmp_path / "hh")
    examples = [example for example, _ in zip(dataset.load(tmp_path / "hh", "test"), range(60), strict=False)]
    assert len(examples) == 60
    model = judge(store, Policy.load(real_model, spec=Model(name="gpt2-7m")))
    train, test = rows(store, "train", examples[:20]), rows(store, "test", examples)
    template = Template(text="{prompt}", truncate="prompt")
    use = RewardModelUse(loading=configs.loading(), template=template, max_prompt_length=256)
    config = settings("zscore", reward_model=use)
    record = run(store, config, reward_model=model, rows=train, pairs=test)
    pairs = list(record.jsonl("pairs.jsonl"))
    assert len(pairs) == 60
    assert all(math.isfinite(row["chosen"]) and math.isfinite(row["rejected"]) for row in pairs)
    assert sum(row["chosen"] == row["rejected"] for row in pairs) == 0
    accuracy = sum(row["chosen"] > row["rejected"] for row in pairs) / 60
    assert 0.3 < accuracy < 0.7  # of a head that has learnt nothing
    policy = Policy.load(model.path("checkpoint"), spec=Model(name="x"))
    alone = RewardModel.trained(policy, model.path("modules.safetensors"), template=template, max_prompt=256)
    for place in (0, 27, 59):
        (score,) = alone.score([examples[place].fields["prompt"]], [examples[place].rejected or ""])
        assert pairs[place]["rejected"] == pytest.approx(score, abs=1e-3)
