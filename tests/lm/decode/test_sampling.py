from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from lm.families import FAMILIES
from lm.ragged import often_ending, sharpen, some_prompts
from scipy import stats

from harness.api import Prompts
from harness.errors import DivergedError, InputError
from harness.in_parts import Batcher
from harness.lm.cuda.sizes import DRAWN_TOGETHER, LOOK_EVERY
from harness.lm.decode.noise import Noise, Race, row_keys
from harness.lm.decode.sampling import Drawn, RowParams, SamplingParams, draw, sample
from harness.lm.model import backbone, packed_linear
from harness.lm.model.policy import Policy
from harness.lm.score.log_softmax import ScoringParams
from harness.lm.score.logprobs import score
from harness.lm.switches import PLAIN_LINEAR
from harness.spec.model import Model
from harness.text.stops import Stops

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Make = Callable[..., Policy]


CPU = torch.device("cpu")
HEAT = [0.5, 1.0, 2.0, 0.0]


def names(count: int) -> list[str]:
    return [f"example-{i}" for i in range(count)]


def drawn(policy: Policy, prompts: Prompts, ids: Sequence[str] | None = None, **options: Any) -> Drawn:
    noise = {name: options.pop(name) for name in ("seed", "purpose", "step", "candidates") if name in options}
    batcher = options.pop("batcher", None)
    params = SamplingParams(**{"temperatures": tuple(HEAT), "max_new_tokens": 10, **options})
    coordinates = Noise(**{"seed": 3, "purpose": "test", "step": 5, **noise})
    return sample(policy, prompts, names(len(prompts)) if ids is None else ids, params, coordinates, batcher=batcher)


def settings_of(temperatures: Sequence[float], **options: Any) -> RowParams:
    """Of rows that have these temperatures."""
    return RowParams.of(SamplingParams(tuple(temperatures), 10, **options), 1, CPU)


def without_cache(policy: Policy, prompts: Prompts, *, limit: int = 10, **filters: Any) -> list[list[int]]:
    """The same draws from forwards of whole sequences, one at a time."""
    texts = []
    for b, name in enumerate(names(len(prompts))):
        for k, temperature in enumerate(HEAT):
            race = Race(row_keys(Noise(3, "test", 5), [name], [k], CPU).view(-1), policy.vocab_size)
            settings = settings_of([temperature], **filters)
            ids = prompts.ids[b, : prompts.lengths[b]].tolist()
            text: list[int] = []
            while len(text) < limit and policy.eos_id not in text:
                with torch.no_grad(), policy.autocast():
                    logits = policy.restrict(policy.model(input_ids=torch.tensor([ids + text])).logits[:, -1])
                text.append(int(draw(logits, settings, race, len(text)).tokens))
            texts.append(text)
    return texts


def lists(found: Drawn) -> list[list[int]]:
    done = found.completions
    return [row[:n] for row, n in zip(done.ids.flatten(0, 1).tolist(), done.lengths.flatten().tolist(), strict=True)]


def kept_ids(logits: torch.Tensor, temperature: float, top_k: int, top_p: float) -> torch.Tensor:
    """Probabilities (V,) after the filters, written as their definitions read."""
    order = sorted(range(len(logits)), key=lambda i: -float(logits[i]))
    order = order[: top_k or None]
    weights = (logits / temperature).softmax(0)
    total = sum(float(weights[i]) for i in order)
    keep, mass = [], 0.0
    for i in order:
        if mass >= top_p * total:
            break
        keep.append(i)
        mass += float(weights[i])
    result = torch.zeros_like(weights)
    result[keep] = weights[keep]
    return result / result.sum()


@pytest.mark.parametrize(("top_k", "top_p"), [(0, 1.0), (5, 1.0), (0, 0.7), (9, 0.8), (1, 1.0), (1000, 1e-9)])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax(temperature: float, top_k: int, top_p: float) -> None:
    rows = 4000
    logits = torch.randn(23, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 1.5
    keys = row_keys(Noise(0, "t"), names(rows // 4), range(4), CPU).view(-1)
    settings = settings_of([temperature] * rows, top_k=top_k, top_p=top_p)
    found = draw(logits.expand(rows, -1), settings, Race(keys, 23), 2)
    expected = kept_ids(logits, temperature, top_k, top_p)
    counts = torch.bincount(found.tokens, minlength=23)
    assert counts[expected == 0].sum() == 0
    real = expected > 0
    if int(real.sum()) > 1:
        assert stats.chisquare(counts[real].numpy(), (expected[real] * rows).numpy()).pvalue > 0.01
    # what is reported is the whole distribution's at temperature 1, whatever was drawn from
    logp = logits.log_softmax(0)
    torch.testing.assert_close(found.logprobs, logp[found.tokens])
    torch.testing.assert_close(found.entropy, -(logp * logp.exp()).sum().expand(rows))


def test_rows_of_a_batch_have_temperatures_of_their_own() -> None:
    rows = 6000
    logits = torch.randn(12, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    settings = settings_of([0.25, 0.0, 3.0] * (rows // 3))
    keys = row_keys(Noise(0, "t"), names(rows), [0], CPU).view(-1)
    tokens = draw(logits.expand(rows, -1), settings, Race(keys, 12), 0).tokens.view(-1, 3)
    for column, temperature in ((0, 0.25), (2, 3.0)):
        counts = torch.bincount(tokens[:, column], minlength=12)
        expected = (logits / temperature).softmax(0) * rows / 3
        assert stats.chisquare(counts.numpy(), expected.numpy()).pvalue > 0.01
    assert bool((tokens[:, 1] == logits.argmax()).all())


def test_the_lowest_of_equal_ids_is_the_most_probable() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0, 2.0, 2.0], [1.0, 1.0, 1.0, 1.0, 1.0]])
    race = Race(row_keys(Noise(0, "t"), names(2), [0], CPU).view(-1), 5)
    assert draw(logits, settings_of([0.0, 0.0]), race, 0).tokens.tolist() == [1, 0]
    assert draw(logits, settings_of([0.0, 1.0]), race, 0).tokens.tolist()[0] == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_logits(dtype: torch.dtype) -> None:
    logits = torch.tensor([[3e4, -3e4, 0.0], [float("-inf"), 0.0, float("-inf")]], dtype=dtype)
    race = Race(row_keys(Noise(0, "t"), names(2), [0], CPU).view(-1), 3)
    for temperature in (1e-4, 1.0, 1e4):
        found = draw(logits, settings_of([temperature] * 2), race, 0)
        assert found.tokens[1] == 1
        assert bool(found.logprobs.isfinite().all())
        assert bool(found.entropy.isfinite().all())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_cache_changes_no_text(make_policy: Make, family: str, attention: str) -> None:
    policy = often_ending(sharpen(make_policy(family, vocab_size=336, attention=attention), 4))
    prompts = some_prompts(policy, [7, 1, 12, 4])
    found = drawn(policy, prompts, with_logprobs=True)
    assert lists(found) == without_cache(policy, prompts)
    assert len(set(found.completions.lengths.flatten().tolist())) > 2
    # what was recorded while sampling is what scoring finds
    again = score(policy, prompts, found.completions, ScoringParams(entropy=True), dropout=False)
    assert found.logprobs is not None
    assert again.entropy is not None
    exact = attention == "sdpa" or family == "gpt2"  # transformers' eager OPT and NeoX compute softmax in float32
    bound = 1e-9 if exact else 1e-5
    torch.testing.assert_close(found.logprobs, again.values.detach(), rtol=0, atol=bound)
    mean = again.entropy.sum(-1) / found.completions.lengths
    torch.testing.assert_close(found.entropy, mean, rtol=0, atol=bound)


@pytest.mark.parametrize("family", ["gpt2", "opt-350m", "neox"])
def test_texts_do_not_depend_on_the_batch(make_policy: Make, family: str) -> None:
    policy = often_ending(sharpen(make_policy(family, vocab_size=336), 4))
    lengths = torch.randint(1, 30, (12,), generator=torch.Generator().manual_seed(4)).tolist()
    prompts, ids = some_prompts(policy, lengths), names(12)
    whole = drawn(policy, prompts, ids)
    texts = lists(whole)
    for size in (1, 7):
        parts = [range(start, min(12, start + size)) for start in range(0, 12, size)]
        found = [drawn(policy, prompts[list(part)], [ids[i] for i in part]) for part in parts]
        assert [text for part in found for text in lists(part)] == texts
    for tokens in (1, 400):
        chunked = drawn(policy, prompts, ids, batcher=Batcher(tokens, doing="decoding"))
        assert lists(chunked) == texts
        torch.testing.assert_close(chunked.entropy, whole.entropy, rtol=0, atol=1e-12)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(6)).tolist()
    turned = lists(drawn(policy, prompts[order], [ids[i] for i in order]))
    assert turned == [text for i in order for text in texts[i * 4 : i * 4 + 4]]
    garbage = some_prompts(policy, lengths, padding=-(10**12))
    wide = Prompts(torch.nn.functional.pad(garbage.ids, (0, 5), value=10**12), garbage.lengths, garbage.texts)
    assert lists(drawn(policy, wide, ids)) == texts


def test_a_draw_depends_on_all_its_coordinates_and_on_nothing_else(make_policy: Make) -> None:
    policy = sharpen(make_policy(), 3)
    prompts = some_prompts(policy, [5, 5])
    same = Prompts(prompts.ids[[0, 0]], prompts.lengths[[0, 0]], ("", ""))
    one = lists(drawn(policy, same, ["a", "b"], temperatures=(1.0, 1.0)))
    assert len({tuple(text) for text in one}) == 4
    for change in ({"seed": 4}, {"purpose": "other"}, {"step": 6}):
        assert lists(drawn(policy, same, ["a", "b"], temperatures=(1.0, 1.0), **change)) != one
    third = lists(drawn(policy, same, ["a", "b"], temperatures=(1.0,), candidates=(1,)))
    assert third == [one[1], one[3]]
    mixed = lists(drawn(policy, same, ["a", "b"], temperatures=(0.0, 1.0, 1.0), candidates=(7, 1, 0)))
    assert [mixed[1], mixed[2], mixed[4], mixed[5]] == [one[1], one[0], one[3], one[2]]
    torch.rand(5)  # torch's own state plays no part
    assert lists(drawn(policy, same, ["a", "b"], temperatures=(1.0, 1.0))) == one


def test_completions_end_with_eos_or_at_the_limit(make_policy: Make) -> None:
    policy = often_ending(sharpen(make_policy(), 4))
    prompts = some_prompts(policy, [3, 8, 5, 2])
    done = drawn(policy, prompts, max_new_tokens=6).completions
    assert done.ids.shape[:2] == (4, 4)
    for row, size, finished in zip(
        done.ids.flatten(0, 1).tolist(), done.lengths.flatten().tolist(), done.finished.flatten().tolist(), strict=True
    ):
        assert policy.eos_id not in row[: size - 1]
        assert (row[size - 1] == policy.eos_id) == finished
        assert finished or size == 6
        assert not any(row[size:])
    assert 0 < int(done.finished.sum()) < 16
    assert int((done.lengths == 1).sum()) > 0  # an EOS alone
    assert done.ids.shape[2] == int(done.lengths.max())
    single = drawn(policy, prompts, max_new_tokens=1).completions
    assert bool((single.lengths == 1).all())


@pytest.mark.parametrize("family", ["gpt2", "opt-350m", "neox"])
def test_greedy_is_what_transformers_generates(make_policy: Make, family: str) -> None:
    policy = sharpen(make_policy(family))
    prompts = some_prompts(policy, [3, 9, 6])
    policy.stops = Stops((lists(drawn(policy, prompts, temperatures=(0.0,)))[1][4],))
    texts = lists(drawn(policy, prompts, temperatures=(0.0,)))
    assert len({len(text) for text in texts}) > 1
    for b, text in enumerate(texts):
        ids = prompts.ids[b : b + 1, : prompts.lengths[b]]
        model: Any = policy.model
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=10, eos_token_id=policy.eos_id
        )
        assert out[0, ids.shape[1] :].tolist() == text


def test_ids_without_a_token_are_never_sampled(make_policy: Make) -> None:
    policy = make_policy("opt", vocab_size=400)
    assert policy.vocab_size == 320
    head: Any = backbone.head(policy.model)
    with torch.no_grad():
        head.weight[320:] += torch.randn(32, dtype=torch.float64) * 5  # the model likes them best
    prompts = some_prompts(policy, [4] * 8)
    found = drawn(policy, prompts, temperatures=(0.0, 1.0, 5.0, 5.0), max_new_tokens=20).completions
    assert int(found.ids.max()) < 320
    policy._absent = torch.zeros(320, dtype=torch.bool)
    policy._absent[:200] = True  # holes among the ids
    found = drawn(policy, prompts, temperatures=(0.0, 1.0, 5.0, 5.0), max_new_tokens=20).completions
    assert int(found.ids[found.mask].min()) >= 200


def test_settings_of_a_checkpoint_have_no_effect(make_policy: Make) -> None:
    policy = sharpen(make_policy())
    prompts = some_prompts(policy, [3, 8])
    texts = lists(drawn(policy, prompts))
    hostile = {
        "temperature": 0.01, "top_k": 1, "top_p": 0.1, "repetition_penalty": 9.0, "max_new_tokens": 1, "num_beams": 3,
        "no_repeat_ngram_size": 1, "suppress_tokens": list(range(300)), "eos_token_id": texts[0][0], "min_length": 50,
    }  # fmt: skip
    for name, value in hostile.items():
        setattr(policy.model.generation_config, name, value)
        setattr(policy.model.config, name, value)
    assert lists(drawn(policy, prompts)) == texts


def test_the_model_is_left_as_it_was(make_policy: Make) -> None:
    policy = sharpen(make_policy(dropout=0.5))
    prompts = some_prompts(policy, [3, 8])
    texts = lists(drawn(policy, prompts))
    policy.model.train()
    before = {name: value.clone() for name, value in policy.model.state_dict().items()}
    attention = policy.model.config._attn_implementation
    state = torch.get_rng_state()
    found = drawn(policy, prompts, with_logprobs=True)
    assert lists(found) == texts  # no dropout while sampling
    assert all(module.training for module in policy.model.modules())
    assert policy.model.config._attn_implementation == attention
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in policy.model.state_dict().items())
    tensors = (found.completions.ids, found.completions.lengths, found.completions.finished, found.entropy)
    assert not any(tensor.is_inference() for tensor in tensors)
    assert found.logprobs is not None
    assert not found.logprobs.is_inference()
    # so a loss may index with what was drawn
    torch.autograd.backward(score(policy, prompts, found.completions, dropout=True).sum().sum())


def test_bfloat16(make_policy: Make) -> None:
    policy = sharpen(make_policy(dtype="bfloat16"), 3)
    prompts = some_prompts(policy, [5, 9, 2])
    found = drawn(policy, prompts, with_logprobs=True)
    again = score(policy, prompts, found.completions, dropout=False)
    assert found.logprobs is not None
    torch.testing.assert_close(found.logprobs.float(), again.values.detach(), rtol=0, atol=0.2)


def test_the_real_model(real_model: Path) -> None:
    policy = Policy.load(real_model, spec=Model(name="gpt2-7m", dtype="float64"))
    texts = (
        "What is a dog?",
        "### Instruction:\nName three colours of the rainbow.\n\n### Response:\n",
        "Once",
        "In 1947",
    )
    encoded = [policy.tokeniser.prompt(text) for text in texts]
    sizes = torch.tensor([len(ids) for ids in encoded])
    padded = torch.tensor([ids + [0] * (int(sizes.max()) - len(ids)) for ids in encoded])
    prompts = Prompts(padded, sizes, texts)
    options: dict[str, Any] = {"temperatures": (0.5, 1.0, 0.0), "max_new_tokens": 12, "with_logprobs": True}
    whole = drawn(policy, prompts, **options)
    single = [drawn(policy, prompts[[i]], [names(4)[i]], **options) for i in range(4)]
    assert [text for one in single for text in lists(one)] == lists(whole)
    again = score(policy, prompts, whole.completions, dropout=False)
    assert whole.logprobs is not None
    torch.testing.assert_close(whole.logprobs, again.values.detach(), rtol=0, atol=1e-10)


def test_no_prompts(make_policy: Make) -> None:
    policy = make_policy()
    none = Prompts(torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), ())
    assert drawn(policy, none).completions.ids.shape[:2] == (0, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperatures": ()}, "temperatures is out of range, got []"),
        ({"temperatures": (1.0, -0.5)}, "temperature is out of range, got -0.5"),
        ({"temperatures": (float("nan"),)}, "temperature is out of range, got nan"),
        ({"max_new_tokens": 0}, "max_new_tokens is out of range, got 0"),
        ({"top_k": -1}, "top_k is out of range, got -1"),
        ({"top_p": 0.0}, "top_p is out of range, got 0.0"),
        ({"top_p": 1.5}, "top_p is out of range, got 1.5"),
        ({"max_new_tokens": 95}, "example-1: a prompt of 8 and a completion of 95 tokens make 103"),
    ],
)
def test_mistakes(make_policy: Make, options: dict[str, Any], message: str) -> None:
    policy = make_policy()
    with pytest.raises(InputError) as error:
        drawn(policy, some_prompts(policy, [3, 8]), **options)
    assert message in str(error.value)


@pytest.mark.parametrize("temperatures", [[0.0], [1.0], [0.0, 0.7]])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_say_nothing(make_policy: Make, value: float, temperatures: list[float]) -> None:
    policy = make_policy()
    prompts = some_prompts(policy, [3, 8])
    drawn(policy, prompts, temperatures=temperatures)
    with torch.no_grad():
        next(policy.model.parameters()).view(-1)[prompts.ids[1, 7] * 8] = value  # a number in one token's embedding
    with pytest.raises(DivergedError, match=r"example-\d: the model's probabilities are not finite"):
        drawn(policy, prompts, temperatures=temperatures)


def test_a_prompt_without_tokens(make_policy: Make) -> None:
    policy = make_policy()
    with pytest.raises(InputError, match="example-1: a prompt has no tokens"):
        drawn(policy, some_prompts(policy, [3, 0]))


def test_suppressed_stops_fill_every_completion(make_policy: Make) -> None:
    policy = often_ending(make_policy())
    prompts = some_prompts(policy, [4, 1, 7])
    natural, full = drawn(policy, prompts), drawn(policy, prompts, suppress_stops=True, with_logprobs=True)
    assert natural.completions.finished.any()
    assert not full.completions.finished.any()
    assert (full.completions.lengths == 10).all()
    assert (full.completions.ids != policy.eos_id).all()
    assert full.logprobs is not None
    assert full.entropy.isfinite().all()
    assert full.logprobs.isfinite().all()


def test_suppressed_stops_leave_the_rest_of_the_distribution_as_it_is(make_policy: Make) -> None:
    """A policy in which EOS has no probability says the same."""
    policy = make_policy()
    prompts = some_prompts(policy, [4, 1, 7])
    full = drawn(policy, prompts, suppress_stops=True)
    restrict = policy.restrict

    def without(logits: torch.Tensor) -> torch.Tensor:
        logits = restrict(logits).clone()
        logits[..., policy.eos_id] = -torch.inf
        return logits

    policy.restrict = without  # type: ignore[method-assign]
    never = drawn(policy, prompts)
    assert lists(never) == lists(full)
    assert torch.equal(never.entropy, full.entropy)


@pytest.mark.parametrize("look_every", [1, 3, 8, 100])
def test_texts_do_not_depend_on_how_often_rows_are_looked_at(
    make_policy: Make, monkeypatch: pytest.MonkeyPatch, look_every: int
) -> None:
    policy = often_ending(sharpen(make_policy(), 4))
    prompts = some_prompts(policy, [7, 1, 12, 4])
    whole = drawn(policy, prompts, with_logprobs=True)
    monkeypatch.setitem(LOOK_EVERY, "cpu", look_every)
    found = drawn(policy, prompts, with_logprobs=True)
    assert lists(found) == lists(whole)
    assert found.completions.finished.equal(whole.completions.finished)
    torch.testing.assert_close(found.entropy, whole.entropy, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.logprobs, whole.logprobs, rtol=0, atol=1e-12)


def test_a_look_costs_one_answer_in_so_many_tokens(make_policy: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU each would make the host wait."""
    policy = sharpen(make_policy())
    asked: list[int] = []
    real = torch.Tensor.__int__

    def counted(tensor: torch.Tensor) -> int:
        asked.append(1)
        return real(tensor)

    prompts, costs = some_prompts(policy, [7, 1, 12, 4]), {}
    for look_every in (1, 10):
        monkeypatch.setitem(LOOK_EVERY, "cpu", look_every)
        drawn(policy, prompts, suppress_stops=True, max_new_tokens=21)
        with monkeypatch.context() as patch:
            patch.setattr(torch.Tensor, "__int__", counted)
            asked.clear()
            drawn(policy, prompts, suppress_stops=True, max_new_tokens=21)
            costs[look_every] = len(asked)
    assert costs[1] - costs[10] == 20 - 2


@pytest.mark.parametrize("numbers", [1, 23, 60, 1 << 20])
@pytest.mark.parametrize("filters", [{}, {"top_k": 5}, {"top_p": 0.7}])
def test_draws_do_not_depend_on_how_many_rows_are_drawn_together(
    monkeypatch: pytest.MonkeyPatch, numbers: int, filters: dict[str, Any]
) -> None:
    logits = torch.randn(12, 23, generator=torch.Generator().manual_seed(1))
    logits[3, 4] = -torch.inf
    settings = settings_of([0.5, 1.0, 0.0, 2.0] * 3, **filters)
    keys = row_keys(Noise(0, "t"), names(12), [0], CPU).view(-1)
    whole = draw(logits, settings, Race(keys, 23), 2)
    monkeypatch.setitem(DRAWN_TOGETHER, "cpu", numbers)
    found = draw(logits, settings, Race(keys, 23), 2)
    assert found.tokens.equal(whole.tokens)
    assert found.entropy.equal(whole.entropy)
    assert found.logprobs.equal(whole.logprobs)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_texts_of_packed_weights(make_policy: Make, monkeypatch: pytest.MonkeyPatch, family: str, dtype: str) -> None:
    policy = often_ending(sharpen(make_policy(family, dtype=dtype), 4))
    prompts = some_prompts(policy, [7, 1, 12, 4])
    monkeypatch.setenv(PLAIN_LINEAR.variable, "off")
    plain = drawn(policy, prompts, max_new_tokens=packed_linear.USES, with_logprobs=True)
    monkeypatch.delenv(PLAIN_LINEAR.variable, raising=False)
    monkeypatch.setattr(packed_linear, "NUMBERS", 1)
    applied: list[int] = []
    real = packed_linear._packed

    def counted(weight: torch.Tensor, bias: torch.Tensor | None) -> Any:
        product = real(weight, bias)

        def heard(inputs: torch.Tensor) -> torch.Tensor:
            applied.append(1)
            return product(inputs)

        return heard

    monkeypatch.setattr(packed_linear, "_packed", counted)
    found = drawn(policy, prompts, max_new_tokens=packed_linear.USES, with_logprobs=True)
    assert applied
    if dtype == "float32":  # bfloat16's roundings part texts
        assert lists(found) == lists(plain)
        torch.testing.assert_close(found.logprobs, plain.logprobs, rtol=0, atol=1e-4)
        torch.testing.assert_close(found.entropy, plain.entropy, rtol=0, atol=1e-4)
    again = score(policy, prompts, found.completions, dropout=False)
    assert found.logprobs is not None
    torch.testing.assert_close(
        found.logprobs.float(), again.values.detach(), rtol=0, atol=1e-3 if dtype == "float32" else 0.3
    )
    assert not any("forward" in vars(module) for module in policy.model.modules())


def test_memory_that_runs_out_while_decoding_changes_no_text(make_policy: Make) -> None:
    policy = often_ending(sharpen(make_policy(), 4))
    prompts = some_prompts(policy, [7, 1, 12, 4])
    texts = lists(drawn(policy, prompts))
    calls = iter(range(1000))

    def at_the_third(*_: Any) -> None:
        if next(calls) == 3:
            raise MemoryError

    body: Any = policy.model.base_model
    handle = body.register_forward_pre_hook(at_the_third)
    batcher = Batcher(doing="decoding")
    assert lists(drawn(policy, prompts, batcher=batcher)) == texts
    assert batcher.halvings == 1
    handle.remove()
    assert lists(drawn(policy, prompts, batcher=batcher)) == texts
