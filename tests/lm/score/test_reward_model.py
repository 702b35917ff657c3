"""The reward model: one score for one text, wherever it stands and whoever asks beside it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from lm.architectures import InFloat64, make
from lm.families import FAMILIES
from lm.ragged import sharpen, some_completions, some_prompts
from safetensors.torch import save_file
from torch import nn

from harness.errors import InputError, StageError
from harness.lm.model import backbone
from harness.lm.score.logprobs import ScoringModule, final_states
from harness.lm.score.reward_model import Backbone, RewardModel, load_head
from harness.spec.model import Model, Template
from harness.text.formats import answer_text, format_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.api import Completions, Prompts
    from harness.lm.model.policy import Policy

    Make = Callable[..., Policy]

PROMPT_LENGTHS = [7, 1, 4]
LENGTHS = [[5, 1, 3], [0, 6, 2], [1, 1, 4]]
PROMPTS = ["Name three colours.", "Name three colours.", "Who was it?", "Who was it? ", "Write one word for the cat"]
ANSWERS = ["red, green and blue", "", "the teacher", "the teacher", "  a cat in the old garden \n"]


def states_alone(policy: Policy, prompts: Prompts, completions: Completions) -> torch.Tensor:
    """Final states (B, K, D), one sequence at a time."""
    batch, group, _ = completions.ids.shape
    rows = []
    for b in range(batch):
        for k in range(group):
            size = int(completions.lengths[b, k])
            ids = torch.cat((prompts.ids[b, : prompts.lengths[b]], completions.ids[b, k, :size]))[None]
            places = torch.arange(ids.shape[1])[None]
            states, _, _ = backbone.forward(policy.model, input_ids=ids, position_ids=places, use_cache=False)
            rows.append(states[0, -1] if size else torch.zeros_like(states[0, -1]))
    return torch.stack(rows).view(batch, group, -1)


@pytest.mark.parametrize("family", FAMILIES)
def test_final_states_and_gradients_are_those_of_each_sequence_alone(make_policy: Make, family: str) -> None:
    policy = sharpen(make_policy(family, vocab_size=336))
    prompts, completions = some_prompts(policy, PROMPT_LENGTHS), some_completions(policy, LENGTHS)
    found = final_states(policy, prompts, completions, dropout=False)
    expected = states_alone(policy, prompts, completions)
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, rtol=0, atol=1e-9 * float(1 + expected.detach().abs().max()))
    assert bool((found[1, 0] == 0).all())
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(0), dtype=found.dtype)
    slopes = []
    for states in (found, expected):
        policy.model.zero_grad()
        torch.autograd.backward((states * weights).sum())
        slopes.append({name: p.grad.clone() for name, p in policy.model.named_parameters() if p.grad is not None})
    scale = max(float(slope.abs().max()) for slope in slopes[1].values())
    for name, slope in slopes[1].items():
        assert float((slopes[0][name] - slope).abs().max()) <= 1e-9 * scale, name


@pytest.mark.parametrize("kind", ["bloom", "mistral-window", "gemma2", "mamba"])
def test_other_architectures_give_the_same(tokeniser: Any, kind: str) -> None:
    policy = make(kind, tokeniser)
    prompts, completions = some_prompts(policy, PROMPT_LENGTHS), some_completions(policy, LENGTHS)
    with InFloat64():
        found = final_states(policy, prompts, completions, dropout=False)
        expected = states_alone(policy, prompts, completions).detach()
    assert torch.allclose(found, expected, rtol=0, atol=1e-9 * float(1 + expected.abs().max()))


def test_padding_is_never_read(make_policy: Make) -> None:
    policy = sharpen(make_policy("gpt2"))
    plain = final_states(policy, some_prompts(policy, PROMPT_LENGTHS), some_completions(policy, LENGTHS), dropout=False)
    spoilt = final_states(
        policy,
        some_prompts(policy, PROMPT_LENGTHS, padding=9),
        some_completions(policy, LENGTHS, padding=5, width=11),
        dropout=False,
    )
    assert torch.allclose(plain, spoilt, rtol=0, atol=1e-12)


def reward_model(make_policy: Make, family: str = "gpt2", *, max_prompt: int | None = 32, **config: Any) -> RewardModel:
    policy = sharpen(make_policy(family, **config))
    untyped: Any = policy.model
    width = untyped.get_output_embeddings().weight.shape[1]
    head = nn.Linear(width, 1, dtype=torch.float64)
    with torch.no_grad():
        head.weight.copy_(torch.linspace(-1, 1, width, dtype=torch.float64)[None])
        head.bias.fill_(0.25)
    return RewardModel(
        Backbone(policy, head), format_of(TEXT, policy.tokeniser), device=policy.device, max_prompt=max_prompt
    )


def by_hand(model: RewardModel, prompt: str, answer: str) -> float:
    """The score of one text from a forward of its own: prompt, answer and EOS, read at EOS."""
    network = model.network
    assert isinstance(network, Backbone)
    tokens = model.tokeniser
    ids = [*tokens.prompt(prompt), *tokens.completion(answer_text(prompt, answer)), tokens.eos_id]
    with torch.no_grad():
        states, _, _ = backbone.forward(network.policy.model, input_ids=torch.tensor([ids]), use_cache=False)
        return float(network.head(states[0, -1])[0])


@pytest.mark.parametrize("family", ["gpt2", "opt-350m"])  # one ends and pads with the same id, one has a prefix too
def test_a_score_is_read_at_the_eos_behind_the_answer(make_policy: Make, family: str) -> None:
    model = reward_model(make_policy, family)
    found = model.score(PROMPTS, ANSWERS)
    expected = [by_hand(model, prompt, answer) for prompt, answer in zip(PROMPTS, ANSWERS, strict=True)]
    assert found == pytest.approx(expected, abs=1e-9)


def test_company_and_order_do_not_matter(make_policy: Make) -> None:
    model = reward_model(make_policy)
    together = model.score(PROMPTS, ANSWERS)
    assert model.score(PROMPTS[::-1], ANSWERS[::-1])[::-1] == pytest.approx(together, abs=1e-9)
    apart = [model.score([prompt], [answer])[0] for prompt, answer in zip(PROMPTS, ANSWERS, strict=True)]
    assert apart == pytest.approx(together, abs=1e-9)
    model.batcher.budget = 1
    assert model.score(PROMPTS * 2, ANSWERS * 2) == pytest.approx(together * 2, abs=1e-9)
    assert model.score([], []) == []


def test_memory_that_runs_out_changes_no_score(make_policy: Make) -> None:
    model = reward_model(make_policy)
    prompts, texts = ["the dog", "a cat", "the garden in the evening"] * 4, [f"answer {n}" for n in range(12)]
    expected = model.score(prompts, texts)
    network, sizes = model.network, []

    def scarce(prompts: Any, answers: Any) -> Any:
        sizes.append(len(prompts))
        if len(prompts) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return network(prompts, answers)

    scarce.positions_limit = network.positions_limit  # type: ignore[attr-defined]
    model.network = scarce  # type: ignore[assignment]
    assert model.score(prompts, texts) == pytest.approx(expected, abs=1e-12)
    assert sizes[-1] == 1
    assert sum(size == 1 for size in sizes) == 3  # each group of answers is scored once
    known = len(sizes)
    model.score(prompts, texts)
    assert sizes[known:] == [1, 1, 1]  # what was learnt stays


def test_many_answers_of_one_prompt_are_scored_in_groups(make_policy: Make) -> None:
    model = reward_model(make_policy)
    answers = [f"{number} of them" for number in range(30)]
    found = model.score(["Write"] * 30, answers)
    assert found == pytest.approx([by_hand(model, "Write", answer) for answer in answers], abs=1e-9)


def test_blanks_at_the_ends_of_an_answer_are_no_matter(make_policy: Make) -> None:
    model = reward_model(make_policy)
    plain, before, behind = model.score(["Assistant:"] * 3, ["yes", " yes", "yes\n"])
    assert plain == before == behind
    assert answer_text("Assistant:", "yes") == " yes"
    assert answer_text("Response:\n", " yes") == "yes"
    assert answer_text("Assistant:", "  ") == ""
    assert answer_text("", "yes") == "yes"


def test_a_long_prompt_loses_its_left_end(make_policy: Make) -> None:
    model = reward_model(make_policy, max_prompt=6)
    whole = "In 1947 there were 12 of them; by 1950 there were 30"
    (found,) = model.score([whole], ["naïve"])
    cut = model.tokeniser.cut_left(whole, len(model.tokeniser.prompt(whole)) - 6)
    assert len(model.tokeniser.prompt(cut)) <= 6
    assert found == pytest.approx(by_hand(model, cut, "naïve"), abs=1e-9)
    small = reward_model(make_policy, max_prompt=None, n_positions=24)
    (found,) = small.score([whole * 3], ["naïve"])
    room = 24 - len(small.tokeniser.completion(answer_text(whole, "naïve"))) - 1
    cut = small.tokeniser.cut_left(whole * 3, len(small.tokeniser.prompt(whole * 3)) - room)
    assert found == pytest.approx(by_hand(small, cut, "naïve"), abs=1e-9)


def test_normalised_scores(make_policy: Make) -> None:
    model = reward_model(make_policy)
    raw = model.score(PROMPTS, ANSWERS)
    model.normalise("shift", 2.0, 4.0)
    assert model.score(PROMPTS, ANSWERS) == pytest.approx([value - 2.0 for value in raw])
    model.normalise("zscore", 2.0, 4.0)
    assert model.score(PROMPTS, ANSWERS) == pytest.approx([(value - 2.0) / 4.0 for value in raw])
    model.normalise("none", 2.0, 4.0)
    assert model.score(PROMPTS, ANSWERS) == raw


def test_a_head_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="the reward model has no head"):
        load_head(tmp_path / "modules.safetensors")
    save_file({"reward_head.weight": torch.zeros(2, 4)}, tmp_path / "modules.safetensors")
    with pytest.raises(StageError, match=r"more than one number, got \[2, 4\]"):
        load_head(tmp_path / "modules.safetensors")
    before = torch.get_rng_state()
    save_file({"reward_head.weight": torch.ones(1, 4)}, tmp_path / "modules.safetensors")
    head = load_head(tmp_path / "modules.safetensors")
    assert head(torch.ones(4)).item() == 4.0
    assert torch.equal(before, torch.get_rng_state())


@pytest.fixture
def classifier(make_policy: Make, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a GPT-2 classifier as transformers does."""

    def make(labels: int = 1, pad: int | None = 5) -> Path:
        from transformers import GPT2ForSequenceClassification

        policy = sharpen(make_policy("gpt2"))
        config: Any = policy.model.config
        config.num_labels, config.pad_token_id = labels, pad
        model: Any = GPT2ForSequenceClassification(config).double()
        untyped: Any = policy.model
        model.transformer.load_state_dict(untyped.transformer.state_dict())
        with torch.no_grad():
            model.score.weight.copy_(torch.linspace(-1, 1, model.score.weight.numel()).view_as(model.score.weight))
        folder = tmp_path / f"classifier-{labels}-{pad}"
        model.save_pretrained(folder)
        policy.tokeniser.save(folder)
        return folder

    return make


TEXT = Template(text="{prompt}", truncate="prompt")
SPEC = Model(name="judge", dtype="float64")


@pytest.mark.parametrize("pad", [5, 0, None])  # 0 is EOS
def test_a_classifier_says_what_it_says_of_each_text_alone(classifier: Callable[..., Path], pad: int | None) -> None:
    from transformers import GPT2ForSequenceClassification

    folder = classifier(pad=pad)
    model = RewardModel.classifier(folder, spec=SPEC, template=TEXT, max_prompt=None)
    theirs: Any = GPT2ForSequenceClassification.from_pretrained(folder, dtype=torch.float64)
    theirs.eval()
    expected = []
    for prompt, answer in zip(PROMPTS, ANSWERS, strict=True):
        tokens = model.tokeniser
        ids = [*tokens.prompt(prompt), *tokens.completion(answer_text(prompt, answer)), tokens.eos_id]
        with torch.no_grad():
            expected.append(float(theirs(input_ids=torch.tensor([ids])).logits[0, 0]))
    assert model.score(PROMPTS, ANSWERS) == pytest.approx(expected, abs=1e-9)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in theirs.parameters())
    assert not any(p.requires_grad for p in model.parameters())


def test_two_outputs_are_refused(classifier: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"has several outputs, got 2; expected a sequence classifier with one label"):
        RewardModel.classifier(classifier(labels=2), spec=SPEC, template=TEXT, max_prompt=None)


def test_a_language_model_is_no_classifier(make_policy: Make, tmp_path: Path) -> None:
    make_policy("gpt2").save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_labels": 1, "id2label": {"0": "x"}}), "utf-8")
    with pytest.raises(InputError, match=r"weights are missing and would be random, got 'score.weight'"):
        RewardModel.classifier(tmp_path, spec=SPEC, template=TEXT, max_prompt=None)


def test_weights_of_other_shapes_are_refused_by_name(classifier: Callable[..., Path]) -> None:
    folder = classifier()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "n_positions": config["n_positions"] + 1}), "utf-8")
    named = r"reward model .*: weights have other shapes than config\.json says, got 'transformer\.wpe\.weight \d+x\d+'"
    with pytest.raises(InputError, match=named):
        RewardModel.classifier(folder, spec=SPEC, template=TEXT, max_prompt=None)


def test_pickles_and_code_are_refused(classifier: Callable[..., Path]) -> None:
    folder = classifier()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    foreign = {**config, "model_type": "mine", "auto_map": {"AutoModel": "x.Y"}}
    (folder / "config.json").write_text(json.dumps(foreign), "utf-8")
    with pytest.raises(InputError, match="auto_map"):
        RewardModel.classifier(folder, spec=SPEC, template=TEXT, max_prompt=None)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="pickled"):
        RewardModel.classifier(folder, spec=SPEC, template=TEXT, max_prompt=None)


def test_the_scoring_module_makes_no_logits_for_states(make_policy: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = make_policy("gpt2")
    module = ScoringModule(policy)
    prompts, completions = some_prompts(policy, PROMPT_LENGTHS), some_completions(policy, LENGTHS)
    final_states(policy, prompts, completions, dropout=False, module=module)  # settles what the model can do

    def never(*_: Any) -> Any:
        raise AssertionError("logits were made")

    monkeypatch.setattr(backbone, "head", never)
    assert final_states(policy, prompts, completions, dropout=False, module=module).shape[:2] == (3, 3)
