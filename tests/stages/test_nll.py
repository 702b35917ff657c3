"""Likelihoods of texts: the whole text wherever it fits behind its own prompt, and cuts that are counted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from stages import configs
from stages.requests import request, silent

from harness.api import Divergence, Sample
from harness.errors import InputError, StageError
from harness.lm.model.initialise import initialise
from harness.lm.model.policy import Policy
from harness.spec.model import Model, Template
from harness.spec.results.score import CutTexts
from harness.stages.nll import ModelServices
from harness.stages.setup import make_room
from harness.store.stages import Store
from harness.text.bpe import train_bpe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.store.records import Record

POSITIONS = 24
TEXTS = ["the cat sat on the mat and the dog sat on the log", "one two three four five six seven eight nine ten"]
PROMPTS = {"a": "the cat", "b": "one two three"}


pytestmark = pytest.mark.usefixtures("torch_as_it_was")


@pytest.fixture(autouse=True)
def no_model_is_kept() -> Iterator[None]:
    make_room()
    yield
    make_room()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def parents(store: Store, tmp_path: Path) -> dict[str, Record]:
    """Rows, and a model with few positions, as scorer and as policy."""
    tokeniser = train_bpe(TEXTS * 3, 260, tmp_path / "bpe")
    config = {"model_type": "gpt2", "n_layer": 1, "n_head": 2, "n_embd": 16, "n_positions": POSITIONS}
    with store.draft("train", "model") as draft:
        initialise(Model(name="m", config=config), tokeniser, 0, draft.folder / "checkpoint")
        model = store.commit(draft, config={}, environment={}, label="model")
    with store.draft("prepare", "rows") as draft:
        rows: list[dict[str, Any]] = [
            {"id": name, "fields": {"instruction": text}, "completion": None, "references": [], "chosen": None,
             "rejected": None, "columns": {}}
            for name, text in PROMPTS.items()
        ]  # fmt: skip
        draft.write_jsonl("rows.jsonl", rows)
        return {"rows": store.commit(draft, config={}, environment={}, label="rows"), "scorer": model, "policy": model}


def services(store: Store, parents: dict[str, Record], max_prompt: int) -> ModelServices:
    template, loading = Template(text="{instruction}"), configs.loading(dtype="float64")
    asking = configs.asking(template=template, max_prompt_length=max_prompt, loading=loading)
    config = configs.model_score_config(asking=asking)
    return ModelServices(request(store.root, config, **parents), store, silent, [], lambda _: [])


def sample(name: str, text: str, draw: int = 0) -> Sample:
    return Sample(
        id=name, draw=draw, prompt=PROMPTS[name], text=text, tokens=1, finished=True, references=(text,), columns={}
    )


def policy_of(parents: dict[str, Record]) -> Policy:
    return Policy.load(parents["scorer"].path("checkpoint"), spec=Model(name="m", dtype="float64"))


def whole(policy: Policy, prompt: str, text: str, *, eos: bool) -> tuple[float, int, int]:
    """Return nats and tokens of as much of a text as fits, from a forward of that alone, and its tokens."""
    start = policy.tokeniser.prompt(prompt)
    (answer,) = policy.tokeniser.completions([text])
    answer = [*answer, policy.eos_id] if eos else answer
    kept = answer[: POSITIONS - len(start)]
    ids = torch.tensor([[*start, *kept]])
    with torch.no_grad():
        logp = policy.restrict(policy.model(input_ids=ids, use_cache=False).logits[0]).log_softmax(-1)
    picked = logp[len(start) - 1 : len(start) - 1 + len(kept)].gather(1, torch.tensor(kept)[:, None])
    return -float(picked.sum()), len(kept), len(answer)


@pytest.mark.parametrize("eos", [False, True])
def test_the_configured_prompt_length_takes_nothing_from_an_answer(
    store: Store, parents: dict[str, Record], *, eos: bool
) -> None:
    policy = policy_of(parents)
    short = {"a": "the cat s", "b": "one two"}
    samples = [sample(name, text) for name, text in short.items()]
    expected = [whole(policy, PROMPTS[name], text, eos=eos) for name, text in short.items()]
    assert all(kept == given for _, kept, given in expected)
    longest = max(len(policy.tokeniser.prompt(prompt)) for prompt in PROMPTS.values())
    for max_prompt in (longest, POSITIONS - 2, POSITIONS - 1):
        asked = services(store, parents, max_prompt)
        found = asked.reference_nll(samples) if eos else asked.answer_nll(samples)
        assert [tokens for _, tokens in found] == [tokens for _, tokens, _ in expected]
        assert [nats for nats, _ in found] == pytest.approx([nats for nats, _, _ in expected], abs=1e-9)
        assert asked.cut == CutTexts(texts=2, cut=0, prompts_cut=0)


@pytest.mark.parametrize("eos", [False, True])
def test_what_does_not_fit_is_cut_by_its_own_prompt_and_counted(
    store: Store, parents: dict[str, Record], *, eos: bool
) -> None:
    policy = policy_of(parents)
    long = "the cat sat on the mat and the dog sat on the log " * 3
    samples = [sample("a", long), sample("a", long, 1), sample("b", long), sample("b", "one")]
    expected = [whole(policy, each.prompt, each.text, eos=eos) for each in samples]
    assert [kept < given for _, kept, given in expected] == [True, True, True, False]
    asked = services(store, parents, POSITIONS - 1)
    found = asked.reference_nll(samples) if eos else asked.answer_nll(samples)
    assert [tokens for _, tokens in found] == [tokens for _, tokens, _ in expected]
    assert [nats for nats, _ in found] == pytest.approx([nats for nats, _, _ in expected], abs=1e-9)
    assert asked.cut == CutTexts(texts=4, cut=3, prompts_cut=0)


def test_prompts_that_are_cut_are_counted(store: Store, parents: dict[str, Record]) -> None:
    asked = services(store, parents, 3)
    asked.answer_nll([sample("b", "one"), sample("b", "two")])
    assert asked.cut == CutTexts(texts=2, cut=0, prompts_cut=2)


def test_losses_behind_prefixes_are_counted_too(store: Store, parents: dict[str, Record]) -> None:
    asked = services(store, parents, POSITIONS - 1)
    long = "the cat sat on the mat and the dog sat on the log " * 3
    found = asked.prefix_nll([sample("a", "the cat s"), sample("a", long)])
    assert asked.cut == CutTexts(texts=2, cut=1, prompts_cut=0)
    assert all(found)


@pytest.mark.parametrize("max_prompt", [POSITIONS, POSITIONS + 9])
def test_a_context_without_room_is_one_message(store: Store, parents: dict[str, Record], max_prompt: int) -> None:
    asked = services(store, parents, max_prompt)
    with pytest.raises(InputError, match=f"context of {POSITIONS} tokens has no room for an answer"):
        asked.answer_nll([sample("a", "the cat")])


def test_nothing_asked_is_nothing_cut(store: Store, parents: dict[str, Record]) -> None:
    asked = services(store, parents, POSITIONS)
    assert asked.answer_nll([sample("a", "")]) == [(0.0, 0)]
    assert asked.cut == CutTexts()
    values: Any = asked.answer_nll([])
    assert list(values) == []


def alone(policy: Policy, text: str) -> tuple[float, int]:
    """Return nats and tokens of as much of a text as fits, without its first token."""
    (ids,) = policy.tokeniser.completions([text])
    kept = torch.tensor(ids[:POSITIONS])
    with torch.no_grad():
        logp = policy.restrict(policy.model(input_ids=kept[None], use_cache=False).logits[0]).log_softmax(-1)
    return -float(logp[:-1].gather(1, kept[1:, None]).sum()), len(kept) - 1


def test_plain_text_stands_alone(store: Store, parents: dict[str, Record]) -> None:
    policy = policy_of(parents)
    long = "the cat sat on the mat and the dog sat on the log " * 3
    texts = ["the cat sat", " one two three", "the cat sat", "t", "", long]
    asked = services(store, parents, POSITIONS - 1)
    found = asked.text_nll(texts)
    expected = [alone(policy, text) if len(policy.tokeniser.completion(text)) > 1 else (0.0, 0) for text in texts]
    assert [tokens for _, tokens in found] == [tokens for _, tokens in expected]
    assert [nats for nats, _ in found] == pytest.approx([nats for nats, _ in expected], abs=1e-9)
    assert found[5][1] == POSITIONS - 1
    assert asked.cut == CutTexts(texts=6, cut=1, prompts_cut=0)
    assert asked.text_nll([]) == []


def test_plain_text_stands_behind_bos_where_there_is_one(
    store: Store, parents: dict[str, Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = policy_of(parents)
    monkeypatch.setattr("harness.text.tokenise.Tokeniser._find_prefix", lambda self: (self.eos_id,))
    ((nats, tokens),) = services(store, parents, POSITIONS - 1).text_nll(["the cat"])
    ids = policy.tokeniser.completion("the cat")
    with torch.no_grad():
        whole = torch.tensor([[policy.eos_id, *ids]])
        logp = policy.restrict(policy.model(input_ids=whole, use_cache=False).logits[0]).log_softmax(-1)
    assert tokens == len(ids)
    assert nats == pytest.approx(-float(logp[:-1].gather(1, torch.tensor(ids)[:, None]).sum()), abs=1e-9)


@pytest.fixture
def apart(store: Store, parents: dict[str, Record]) -> dict[str, Record]:
    """The parents, and another model with the same tokenizer as that of the row ``start``."""
    policy = policy_of(parents)
    config = {"model_type": "gpt2", "n_layer": 1, "n_head": 2, "n_embd": 16, "n_positions": POSITIONS}
    with store.draft("train", "start") as draft:
        initialise(Model(name="m", config=config), policy.tokeniser, 1, draft.folder / "checkpoint")
        return {**parents, "model:start": store.commit(draft, config={}, environment={}, label="start")}


def slow_divergence(parents: dict[str, Record], prompt: str, text: str, *, finished: bool) -> list[float]:
    """Sum over positions of KL(q || p), KL(p || q) and H(p), p the policy's distribution and q the start's."""
    models = [
        Policy.load(parents[name].path("checkpoint"), spec=Model(name="m", dtype="float64"))
        for name in ("policy", "model:start")
    ]
    start = models[0].tokeniser.prompt(prompt)
    answer = [*models[0].tokeniser.completion(text), *([models[0].eos_id] if finished else [])][
        : POSITIONS - len(start)
    ]
    logs = []
    for model in models:
        with torch.no_grad():
            logits = model.restrict(model.model(input_ids=torch.tensor([[*start, *answer]])).logits[0])
        logs.append(logits[len(start) - 1 : len(start) - 1 + len(answer)].log_softmax(-1))
    p, q = logs
    return [
        float((q.exp() * (q - p)).sum()), float((p.exp() * (p - q)).sum()), -float((p.exp() * p).sum()), len(answer),
    ]  # fmt: skip


def test_divergences_are_those_of_the_whole_distributions(store: Store, apart: dict[str, Record]) -> None:
    asked = services(store, apart, POSITIONS - 1)
    long = "the cat sat on the mat and the dog sat on the log " * 3
    samples = [
        sample("a", "the cat"),
        replace(sample("a", "the cat", 1), finished=False),
        sample("b", "one two"),
        sample("b", "", 1),  # an EOS alone
        sample("b", long),
        sample("a", "the cat", 2),
    ]
    found = asked.divergences(samples, "start")
    for each, one in zip(samples, found, strict=True):
        expected = slow_divergence(apart, PROMPTS[each.id], each.text, finished=each.finished)
        assert [one.forward, one.reverse, one.entropy, one.tokens] == pytest.approx(expected, abs=1e-9)
    assert found[1].tokens == found[0].tokens - 1
    assert asked.cut == CutTexts(texts=6, cut=1, prompts_cut=0)
    assert asked.divergences([], "start") == []


def test_an_empty_answer_that_was_cut_has_nothing_to_compare(store: Store, apart: dict[str, Record]) -> None:
    empty = replace(sample("a", ""), finished=False)
    assert services(store, apart, POSITIONS - 1).divergences([empty], "start") == [Divergence(0.0, 0.0, 0.0, 0)]


def test_the_start_is_at_distance_0_from_itself(store: Store, parents: dict[str, Record]) -> None:
    asked = services(store, {**parents, "model:start": parents["policy"]}, POSITIONS - 1)
    (found,) = asked.divergences([sample("a", "the cat")], "start")
    assert (found.forward, found.reverse) == (0.0, 0.0)
    assert found.entropy > 0


def test_a_model_that_was_not_declared_is_not_compared_with(store: Store, parents: dict[str, Record]) -> None:
    with pytest.raises(StageError, match="asked for the model of the row 'start'") as caught:
        services(store, parents, POSITIONS - 1).divergences([sample("a", "the cat")], "start")
    assert "models_of" in str(caught.value)


def test_models_with_other_tokens_cannot_be_compared(store: Store, parents: dict[str, Record], tmp_path: Path) -> None:
    other = train_bpe(TEXTS, 259, tmp_path / "other")
    config = {"model_type": "gpt2", "n_layer": 1, "n_head": 2, "n_embd": 16, "n_positions": POSITIONS}
    with store.draft("train", "start") as draft:
        initialise(Model(name="m", config=config), other, 1, draft.folder / "checkpoint")
        start = store.commit(draft, config={}, environment={}, label="start")
    asked = services(store, {**parents, "model:start": start}, POSITIONS - 1)
    with pytest.raises(StageError, match="'start' have different tokenizers"):
        asked.divergences([sample("a", "the cat")], "start")


def test_equal_weights_have_forgotten_equally_much(store: Store, parents: dict[str, Record]) -> None:
    policy = policy_of(parents)
    config = {"model_type": "gpt2", "n_layer": 1, "n_head": 2, "n_embd": 16, "n_positions": POSITIONS}
    with store.draft("train", "twin") as draft:
        initialise(Model(name="m", config=config), policy.tokeniser, 0, draft.folder / "checkpoint")
        twin = store.commit(draft, config={}, environment={}, label="twin")
    texts = ["the cat sat on the mat", "one two three four", "the dog"]
    one = services(store, parents, POSITIONS - 1).text_nll(texts)
    assert one == services(store, {**parents, "policy": twin}, POSITIONS - 1).text_nll(texts)
