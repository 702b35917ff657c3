"""The generated corpus: the same for ever, as many prompts as it promises, and no test prompt in training."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections import Counter, defaultdict
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from harness.api import Example, InputError
from harness_plugins.datasets.generated_instructions import GeneratedOptions
from harness_plugins.datasets.generated_instructions.corpus import CATEGORIES, VERSION, GeneratedInstructions
from harness_plugins.datasets.generated_instructions.draw import Draw, seed_of
from harness_plugins.datasets.generated_instructions.family import SKEW
from harness_plugins.datasets.generated_instructions.world import world

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NAMES = {
    "open_qa", "general_qa", "closed_qa", "classification", "information_extraction", "summarization", "brainstorming",
    "creative_writing",
}  # fmt: skip
SPLITS = ("train", "validation", "test")
NOWHERE = Path("nothing is read here")


def rows(split: str, variant: Any = "base", seed: int = 0, limit: int | None = None) -> list[Example]:
    data = GeneratedInstructions(GeneratedOptions(variant=variant, seed=seed))
    return list(islice(data.load(NOWHERE, split), limit))


def digest(examples: Iterable[Example]) -> str:
    state = hashlib.sha256()
    for row in examples:
        columns = sorted((name, str(value)) for name, value in row.columns.items())
        state.update(repr((row.id, sorted(row.fields.items()), row.completion, row.references, columns)).encode())
    return state.hexdigest()[:16]


def prompt(example: Example) -> str:
    return " ".join(f"{example.fields['instruction']} | {example.fields['context']}".split()).casefold()


@pytest.fixture(scope="module")
def base() -> dict[str, list[Example]]:
    return {split: rows(split) for split in SPLITS}


@pytest.fixture(scope="module", params=["self-instruct", "vicuna"])
def shifted(request: pytest.FixtureRequest) -> list[Example]:
    return rows("test", request.param)


# --- the same for ever


def test_the_rows_are_those_of_this_version(base: dict[str, list[Example]]) -> None:
    """A change here changes what scores on this data mean: raise VERSION with it."""
    found = {split: digest(base[split]) for split in SPLITS}
    found |= {variant: digest(rows("test", variant)) for variant in ("self-instruct", "vicuna")}
    assert (VERSION, found) == (1, {
        "train": "dcc4760843ec8dd2", "validation": "2a3c539d3bfb22df", "test": "b4ebce3bbe9d96ef",
        "self-instruct": "8214c44ff2a62be1", "vicuna": "570ade80d5a2d07e",
    })  # fmt: skip


def test_the_first_rows_do_not_depend_on_how_many_are_read(base: dict[str, list[Example]]) -> None:
    assert rows("train", limit=100) == base["train"][:100]


def test_a_seed_settles_the_facts_and_the_rows(base: dict[str, list[Example]]) -> None:
    assert world(1) != world(0)
    assert not {prompt(row) for row in rows("train", seed=1, limit=80)} <= {prompt(row) for row in base["train"][:80]}
    assert rows("train", seed=1, limit=80) == rows("train", seed=1, limit=80)


def test_the_generator_of_random_numbers() -> None:
    """SplitMix64, whose first outputs for this seed are well known."""
    draw = Draw(1234567)
    assert [draw.below(1 << 64) for _ in range(3)] == [
        6457827717110365317, 3203168211198807973, 9817491932198370423,
    ]  # fmt: skip
    assert seed_of("a", 1) != seed_of("a1") != seed_of("a", 2)


def test_choices_follow_their_weights() -> None:
    draw = Draw(0)
    counts = Counter(draw.weighted("abc", (55, 28, 17)) for _ in range(20_000))
    assert [round(counts[letter] / 200) for letter in "abc"] == pytest.approx([55, 28, 17], abs=1)
    firsts = Counter(draw.several("abcd", (6, 2, 1, 1), 3)[0] for _ in range(20_000))
    assert firsts["a"] / 20_000 == pytest.approx(0.6, abs=0.015)
    assert all(len(set(draw.several("abcd", (6, 2, 1, 1), 4))) == 4 for _ in range(100))


# --- which prompts there are


def test_dollys_schema(base: dict[str, list[Example]]) -> None:
    for row in base["train"][:800]:
        assert set(row.fields) == {"instruction", "context"}
        assert set(row.columns) == {"category", "second_reference"}
        assert row.references == (row.completion,)
    assert {row.columns["category"] for row in base["train"]} == NAMES
    without = {row.columns["category"] for row in base["train"] if not row.fields["context"]}
    assert without == {"open_qa", "general_qa", "classification", "brainstorming", "creative_writing"}


@pytest.mark.parametrize("seed", [0, 17])
def test_enough_prompts_and_none_of_them_twice(seed: int) -> None:
    found = {split: rows(split, seed=seed) for split in SPLITS}
    every = [prompt(row) for part in found.values() for row in part]
    assert len(set(every)) == len(every)  # within and between the splits
    counts = Counter(row.columns["category"] for part in found.values() for row in part)
    assert set(counts) == NAMES
    assert min(counts.values()) >= 2000
    for part in found.values():
        assert len({row.id for row in part}) == len(part)


def test_any_beginning_is_a_fair_choice_of_the_categories(base: dict[str, list[Example]]) -> None:
    for limit in (8, 80, 800):
        assert set(Counter(row.columns["category"] for row in base["train"][:limit]).values()) == {limit // 8}


def place(row: Example) -> tuple[str, int, int]:
    """Return a row's category, content and wording, from its id."""
    content, core, _ = row.id.rsplit("-", 3)[1:]
    return row.columns["category"], int(content), int(core)


def test_facts_are_asked_otherwise_in_the_test(base: dict[str, list[Example]]) -> None:
    by_core = {family.category for families in CATEGORIES for family in families if family.split_by == "core"}
    assert by_core == {"open_qa", "general_qa", "classification", "creative_writing"}
    wordings = {
        split: {place(row) for row in part if row.columns["category"] in by_core} for split, part in base.items()
    }
    for one, other in (("train", "test"), ("train", "validation"), ("validation", "test")):
        assert not wordings[one] & wordings[other]
    contents = {split: {key[:2] for key in found} for split, found in wordings.items()}
    assert contents["train"] == contents["test"] == contents["validation"]
    # and the first 800 rows already show every open question's fact
    shown = {place(row)[:2] for row in base["train"][:800]}
    assert {key for key in contents["test"] if key[0] == "open_qa"} <= shown


def test_texts_are_split_by_their_content(base: dict[str, list[Example]]) -> None:
    rest = {"closed_qa", "information_extraction", "summarization", "brainstorming"}
    contents = {
        split: {place(row)[:2] for row in part if row.columns["category"] in rest} for split, part in base.items()
    }
    assert not contents["train"] & contents["test"]
    assert not contents["train"] & contents["validation"]
    assert not contents["validation"] & contents["test"]


def test_shifted_prompts_are_new(base: dict[str, list[Example]], shifted: list[Example]) -> None:
    known = {prompt(row) for part in base.values() for row in part}
    found = [prompt(row) for row in shifted]
    assert len(set(found)) == len(found)
    assert not known & set(found)


def test_steps_of_the_shift() -> None:
    for variant, steps in (
        ("self-instruct", {"wording", "composition"}),
        ("vicuna", {"wording", "composition", "longer answer"}),
    ):
        part = rows("test", variant, limit=240)
        assert {row.columns["shift"] for row in part} == steps
        counts = Counter(row.columns["shift"] for row in part)
        assert max(counts.values()) == min(counts.values())
    assert not any(row.fields["context"] for row in rows("test", "vicuna"))
    assert any(row.fields["context"] for row in rows("test", "self-instruct", limit=8))


def test_a_longer_answer_is_longer() -> None:
    lengths = defaultdict(list)
    for row in rows("test", "vicuna", limit=300):
        lengths[row.columns["shift"]].append(len((row.completion or "").split()))
    assert statistics.mean(lengths["longer answer"]) > 1.5 * statistics.mean(lengths["wording"])


# --- which answers there are


def answers(limit: int) -> Iterator[tuple[str, list[str]]]:
    """Yield the category of some prompts of the base, and 60 answers drawn for each."""
    facts = world(0)
    for families in CATEGORIES:
        family = next(family for family in families if family.shift == "none")
        for content in range(0, family.contents, max(1, family.contents // limit)):
            draw = Draw(content)
            made = family.render(facts, content, content % family.cores, content % family.openings, draw)
            assert 2 <= len(made.forms) <= 4
            yield family.category, [made.answer(draw) for _ in range(60)]


def test_every_prompt_has_several_answers_of_several_lengths() -> None:
    for category, drawn in answers(40):
        assert len(set(drawn)) >= 2, category
        assert len({len(answer.split()) for answer in drawn}) >= 2, category


def test_forms_are_skewed() -> None:
    assert all(list(weights) == sorted(weights, reverse=True) for weights in SKEW.values())
    assert all(a > b for weights in SKEW.values() for a, b in pairwise(weights))


def test_the_second_reference_is_another_draw_for_the_same_prompt(base: dict[str, list[Example]]) -> None:
    part = base["test"][:800]
    same = sum(row.columns["second_reference"] == row.completion for row in part) / len(part)
    assert 0.2 < same < 0.5  # the usual form twice, or a rarer one twice
    firsts, seconds = (Counter(len(text.split()) for text in texts) for texts in (
        [row.completion or "" for row in part], [row.columns["second_reference"] for row in part],
    ))  # fmt: skip
    assert all(abs(firsts[length] - seconds[length]) < 60 for length in firsts)


def test_answers_are_short_under_a_tokenizer_trained_on_them(base: dict[str, list[Example]]) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    texts = [f"{row.fields['instruction']}\n{row.fields['context']}\n{row.completion}" for row in base["train"][:800]]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1500, min_frequency=2, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)

    def size(text: str | None) -> int:
        return len(tokenizer.encode(text or "").ids)

    lengths = [size(row.completion) for row in base["train"][:800] + base["test"][:400]]
    assert (min(lengths) >= 4, max(lengths) <= 24) == (True, True)
    assert 15 <= statistics.mean(size(" ".join(row.fields.values())) for row in base["train"][:800]) <= 31
    # and the end, within the 28 tokens that a small profile samples
    assert max(size(row.completion) for row in rows("test", "vicuna", limit=300)) < 28
    assert all(size(f"in {town.name}") == 2 for town in world(0).towns)  # invented names are single tokens


def test_answers_are_true(base: dict[str, list[Example]]) -> None:
    """Every fact in an answer of the open questions is the world's; what a text says stands in the text."""
    facts = world(0)
    rivers = {town.name: town.river for town in facts.towns}
    for row in base["train"]:
        answer = row.completion or ""
        if row.columns["category"] == "open_qa" and "river" in row.fields["instruction"]:
            town = next(name for name in rivers if name in row.fields["instruction"])
            assert rivers[town] in answer
        if row.columns["category"] == "information_extraction":
            listed = answer.removeprefix("The list is: ").replace(" and ", ", ")
            for digit in "123":
                listed = listed.replace(f"{digit}. ", ", ")
            items = [item.strip(" .") for item in listed.split(",") if item.strip(" .")]
            assert len(items) == 3
            assert all(item in row.fields["context"] for item in items)
    kinds = {creature.name: creature.kind for creature in facts.creatures}
    for row in base["test"]:
        if row.columns["category"] == "classification":
            named = [word for word in (row.completion or "").rstrip(".").split() if word in kinds]
            assert all(kinds[name] in row.fields["instruction"] for name in named[:1])


# --- mistakes


def test_no_file_is_read(tmp_path: Path) -> None:
    data = GeneratedInstructions(GeneratedOptions())
    for ask in (lambda: data.identity(tmp_path), lambda: data.prepare(tmp_path, tmp_path)):
        with pytest.raises(InputError, match=r"made by code and reads no file(?s:.*)leave out `path`"):
            ask()


@pytest.mark.parametrize("variant", ["self-instruct", "vicuna"])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_shifted_variants_are_for_evaluation_only(variant: str, split: str) -> None:
    with pytest.raises(InputError, match=f"'{variant}' is for evaluation only, got '{split}'; expected split: test"):
        rows(split, variant)


def test_a_split_that_is_not_there() -> None:
    with pytest.raises(InputError, match="no such split, got 'dev'; expected train, validation, test"):
        rows("dev")


def test_options_are_checked() -> None:
    with pytest.raises(ValidationError, match="'base', 'self-instruct' or 'vicuna'"):
        GeneratedOptions.model_validate({"variant": "vicunas"})
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        GeneratedOptions(seed=-1)


def test_identity_tells_variants_seeds_and_versions_apart() -> None:
    options = [GeneratedOptions(), GeneratedOptions(seed=1), GeneratedOptions(variant="vicuna")]
    found = [json.dumps(dict(GeneratedInstructions(part).identity(None)), sort_keys=True) for part in options]
    assert len(set(found)) == 3
    assert all(f'"version": {VERSION}' in text for text in found)
