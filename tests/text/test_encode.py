from __future__ import annotations

import gzip
import json
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
import torch

from harness.api import Example
from harness.errors import InputError
from harness.spec.model import Template
from harness.text.encode import Encoded, EncodingParams, collate, encode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.text.tokenise import Tokeniser

TEMPLATE = Template(
    text="Instruction: {instruction}\nInput: {context}\nResponse:",
    text_without_context="Instruction: {instruction}\nResponse:",
)
WIDE: dict[str, Any] = {"max_prompt": 500, "max_completion": 500}


def example(name: str, context: str = "", completion: str | None = "fine", **rest: Any) -> Example:
    fields = {"instruction": f"Name {name}.", "context": context}
    return Example(id=name, fields=fields, completion=completion, **rest)


def train(
    rows: list[Example],
    tokeniser: Tokeniser,
    *,
    positions: int | None = None,
    where: str | None = None,
    **settings: Any,
) -> Encoded:
    params = EncodingParams(training=True, **{**WIDE, **settings})
    return encode(rows, tokeniser, TEMPLATE, params, positions=positions, where=where)


def evaluate(rows: list[Example], tokeniser: Tokeniser, **settings: Any) -> Encoded:
    return encode(rows, tokeniser, TEMPLATE, EncodingParams(training=False, **{**WIDE, **settings}))


def test_eos_is_a_target_although_it_is_also_pad_and_bos(tokeniser: Tokeniser, bos_tokeniser: Tokeniser) -> None:
    for each in (tokeniser, bos_tokeniser):
        row = train([example("a", completion="red")], each).rows[0]
        assert row.completion is not None
        assert row.completion.ids.tolist() == [*each.completion("red"), each.eos_id]
        assert row.completion.finished
        batch = collate(train([example("a", completion="red"), example("b", completion="x" * 9)], each).rows)
        mask = batch.demonstrations.mask
        for i in range(2):  # the mask comes from lengths, so the EOS stays in although padding has the same id
            last = int(batch.demonstrations.lengths[i, 0]) - 1
            assert batch.demonstrations.ids[i, 0, last] == each.eos_id
            assert mask[i, 0, last]
            assert not mask[i, 0, last + 1 :].any()


def test_without_train_eos_there_is_none(tokeniser: Tokeniser) -> None:
    row = train([example("a", completion="red")], tokeniser, train_eos=False).rows[0]
    assert row.completion is not None
    assert row.completion.ids.tolist() == tokeniser.completion("red")
    assert not row.completion.finished
    assert not collate([row]).demonstrations.finished.any()


def test_one_path_for_training_and_evaluation(tokeniser: Tokeniser, bos_tokeniser: Tokeniser) -> None:
    rows = [example(f"row {i}", context="the old garden </s> <|endoftext|> " * (i % 3)) for i in range(20)]
    for each in (tokeniser, bos_tokeniser):
        trained, evaluated = train(rows, each), evaluate(rows, each)
        assert [row.prompt.tolist() for row in trained.rows] == [row.prompt.tolist() for row in evaluated.rows]
        assert [row.prompt.tolist() for row in trained.rows] == [each.prompt(row.text) for row in trained.rows]


def test_long_rows_leave_the_training_set_over_all_columns(tokeniser: Tokeniser) -> None:
    long = "the old garden " * 30
    rows = [
        example("kept", chosen="good", rejected="bad"),
        example("prompt", context=long),
        example("completion", completion=long),
        example("chosen", chosen=long, rejected="bad"),
        example("rejected", chosen="good", rejected=long),
        example("both", context=long, completion=long),
    ]
    encoded = train(rows, tokeniser, max_prompt=60, max_completion=40)
    assert [row.id for row in encoded.rows] == ["kept"]
    assert encoded.counts == {
        "rows": 6, "kept": 1, "dropped": 5, "cut": 0, "dropped_prompt": 2, "dropped_completion": 2,
        "dropped_chosen": 1, "dropped_rejected": 1, "dropped_empty": 0,
    }  # fmt: skip


@pytest.mark.parametrize("train_eos", [True, False])
def test_eos_counts_in_the_limit(tokeniser: Tokeniser, train_eos: bool) -> None:  # noqa: FBT001  # pytest's parameter
    ids = tokeniser.completion("the old garden")
    rows = [example("a", completion="the old garden"), example("b", completion="a")]
    for limit, kept in ((len(ids) + 1, ["a", "b"]), (len(ids), ["b"])):
        encoded = train(rows, tokeniser, max_completion=limit, train_eos=train_eos)
        assert [row.id for row in encoded.rows] == kept


def test_a_row_without_a_target_is_dropped(tokeniser: Tokeniser) -> None:
    rows = [example("full"), example("empty", completion="")]
    assert len(train(rows, tokeniser)) == 2  # EOS is its target
    encoded = train(rows, tokeniser, train_eos=False)
    assert [row.id for row in encoded.rows] == ["full"]
    assert encoded.counts["dropped_empty"] == encoded.counts["dropped"] == 1


def test_a_long_test_prompt_loses_the_left_of_its_context(tokeniser: Tokeniser, bos_tokeniser: Tokeniser) -> None:
    context = " ".join(f"word{i}" for i in range(60))
    for each in (tokeniser, bos_tokeniser):
        encoded = evaluate([example("a", context=context), example("b")], each, max_prompt=80)
        row = encoded.rows[0]
        assert row.cut
        assert not encoded.rows[1].cut
        assert encoded.counts["cut"] == 1
        assert encoded.counts["dropped"] == 0
        assert 70 < len(row.prompt) <= 80
        assert row.prompt.tolist() == each.prompt(row.text)  # ids and text still say the same
        head, _, tail = row.text.partition("Input: ")
        assert head == "Instruction: Name a.\n"
        assert tail.endswith("\nResponse:")
        assert context.endswith(tail.removesuffix("\nResponse:"))


def test_every_limit_is_kept_and_the_marker_stays(tokeniser: Tokeniser, bos_tokeniser: Tokeniser) -> None:
    context = "naïve 😀😀 café, " * 10
    for each in (tokeniser, bos_tokeniser):
        marker = each.completion(":")
        for limit in range(3, 60):
            row = evaluate([example("a", context=context)], each, max_prompt=limit).rows[0]
            assert 0 < len(row.prompt) <= limit
            assert row.prompt.tolist()[-len(marker) :] == marker
            assert row.prompt.tolist() == each.prompt(row.text)
            assert each.bos_id is None or row.prompt[0] == each.bos_id


def test_without_room_for_its_context_a_prompt_takes_the_other_text(tokeniser: Tokeniser) -> None:
    bare = tokeniser.prompt("Instruction: Name a.\nResponse:")
    row = evaluate([example("a", context="old " * 50)], tokeniser, max_prompt=len(bare)).rows[0]
    assert row.prompt.tolist() == bare
    shorter = evaluate([example("a", context="old " * 50)], tokeniser, max_prompt=len(bare) - 3).rows[0]
    assert "Instruction: Name a.\nResponse:".endswith(shorter.text)
    assert shorter.text.endswith("Response:")
    assert shorter.cut


def test_a_prompt_without_the_truncate_field_is_cut_itself(tokeniser: Tokeniser) -> None:
    template = Template(text="{prompt}\nAnswer:", truncate="context")
    rows = [Example(id="a", fields={"prompt": "the old garden " * 20})]
    row = encode(rows, tokeniser, template, EncodingParams(training=False, max_prompt=20, max_completion=9)).rows[0]
    assert row.text.endswith("garden \nAnswer:")
    assert 10 < len(row.prompt) <= 20


def test_long_test_prompts_can_be_dropped(tokeniser: Tokeniser) -> None:
    encoded = evaluate([example("a", context="old " * 50), example("b")], tokeniser, max_prompt=40, overlong="drop")
    assert [row.id for row in encoded.rows] == ["b"]
    assert encoded.counts["dropped"] == encoded.counts["dropped_prompt"] == 1
    assert encoded.counts["cut"] == 0


def test_a_demonstration_of_a_test_row_is_cut_on_its_right(tokeniser: Tokeniser) -> None:
    text = "the old garden " * 20
    encoded = evaluate([example("a", completion=text)], tokeniser, max_completion=10)
    answer = encoded.rows[0].completion
    assert answer is not None
    assert answer.ids.tolist() == tokeniser.completion(text)[:10]
    assert not answer.finished
    assert encoded.counts["answers_cut"] == 1
    assert encoded.rows[0].columns["references"] == (text,)


def test_references_and_columns_travel(tokeniser: Tokeniser) -> None:
    rows = [
        example("a", columns={"category": "qa"}),
        example("b", references=("x", "y"), columns={"hard": True}),
        example("c", completion=None),
    ]
    batch = collate(train(rows, tokeniser).rows)
    assert batch.columns["references"] == (("fine",), ("x", "y"), ())
    assert batch.columns["category"] == ("qa", None, None)
    assert batch.columns["hard"] == (None, True, None)
    assert batch.demonstrations.lengths[2, 0] == 0
    assert not batch.demonstrations.finished[2, 0]
    assert batch.pairs is None
    assert batch.labels is None


def test_collate_pads_and_cutting_a_batch_undoes_it(tokeniser: Tokeniser, bos_tokeniser: Tokeniser) -> None:
    rows = [
        example("a", chosen="good one", rejected="bad", label=True),
        example("bb", "the old garden", chosen="yes", rejected="no, not this", label=False),
    ]
    for each in (tokeniser, bos_tokeniser):
        encoded = train(rows, each).rows
        batch = collate(encoded)
        assert batch.ids == ("a", "bb")
        assert batch.prompts.ids.dtype == batch.demonstrations.ids.dtype == torch.int64
        assert batch.labels is not None
        assert batch.labels.tolist() == [True, False]
        assert batch.pairs is not None
        for i, row in enumerate(encoded):
            length = int(batch.prompts.lengths[i])
            assert batch.prompts.ids[i, :length].tolist() == row.prompt.tolist()
            assert not batch.prompts.ids[i, length:].any()
            assert batch.prompts.texts[i] == row.text
            assert row.chosen is not None
            assert row.rejected is not None
            for found, answer in ((batch.pairs.chosen, row.chosen), (batch.pairs.rejected, row.rejected)):
                assert found.ids[i, 0][found.mask[i, 0]].tolist() == answer.ids.tolist()
                assert bool(found.finished[i, 0])


def test_rows_of_several_chunks_keep_their_order(tokeniser: Tokeniser) -> None:
    encoded = train([example(str(i), completion=str(i)) for i in range(2500)], tokeniser)
    assert [row.id for row in encoded.rows] == [str(i) for i in range(2500)]
    assert all(
        row.completion is not None and tokeniser.decode(row.completion.ids.tolist()) == row.id
        for row in encoded.rows[2040:2060]
    )


def test_examples_may_be_an_iterator_and_are_not_changed(tokeniser: Tokeniser) -> None:
    columns = {"category": "qa"}
    rows = [example("a", columns=columns)]
    assert len(encode(iter(rows), tokeniser, TEMPLATE, EncodingParams(training=True, **WIDE))) == 1
    assert columns == {"category": "qa"}


def test_an_empty_split(tokeniser: Tokeniser) -> None:
    with pytest.raises(InputError, match="dolly/train: the split is empty"):
        train([], tokeniser, where="dolly/train")


def test_nothing_left(tokeniser: Tokeniser) -> None:
    with pytest.raises(InputError, match="all 2 are too long") as caught:
        train([example("a"), example("b")], tokeniser, max_prompt=3)
    assert "max_prompt_length is 3" in str(caught.value)


def test_limits_beyond_the_context(tokeniser: Tokeniser) -> None:
    with pytest.raises(InputError, match="a prompt of 500 and a completion of 500 tokens make 1000") as caught:
        train([example("a")], tokeniser, positions=96)
    assert "context of 96" in str(caught.value)


def test_two_rows_with_one_id(tokeniser: Tokeniser) -> None:
    with pytest.raises(InputError, match="two rows have one id, got 'a'"):
        train([example("a"), example("a")], tokeniser)


def test_an_empty_prompt(tokeniser: Tokeniser, bos_tokeniser: Tokeniser) -> None:
    template = Template(text="{instruction}")
    rows = [Example(id="a", fields={"instruction": ""})]
    with pytest.raises(InputError, match="row a: the prompt is empty"):
        encode(rows, tokeniser, template, EncodingParams(training=False, **WIDE))
    assert encode(rows, bos_tokeniser, template, EncodingParams(training=False, **WIDE)).rows[0].prompt.tolist() == [0]


def test_a_limit_without_room_for_a_single_character(tokeniser: Tokeniser) -> None:
    rows = [Example(id="a", fields={"instruction": "😀😀"})]
    with pytest.raises(InputError, match="row a: nothing of the prompt fits, got 1"):
        encode(
            rows,
            tokeniser,
            Template(text="{instruction}"),
            EncodingParams(training=False, max_prompt=1, max_completion=9),
        )


def test_an_unknown_field_names_the_row(tokeniser: Tokeniser) -> None:
    with pytest.raises(InputError, match=r"vicuna/test, row a: .*document"):
        encode(
            [example("a")],
            tokeniser,
            Template(text="{document}"),
            EncodingParams(training=False, **WIDE),
            where="vicuna/test",
        )


def test_a_template_does_not_write_special_tokens(tokeniser: Tokeniser) -> None:
    with pytest.raises(InputError, match="special token"):
        encode(
            [example("a")],
            tokeniser,
            Template(text="<|endoftext|>{instruction}"),
            EncodingParams(training=True, **WIDE),
        )


@pytest.mark.parametrize("name", ["gpt2", "opt", "neox", "gpt2-7m"])
def test_real_rows(real_data: Path, load_real: Callable[[str], Tokeniser], name: str) -> None:
    """500 real prompts: training and evaluation tokenise alike; BOS at most once, EOS at the end of each answer."""
    tokeniser = load_real(name)
    with gzip.open(real_data / "dolly" / "databricks-dolly-15k.jsonl.gz", "rt", encoding="utf-8") as stream:
        rows = [
            Example(
                id=str(i),
                fields={"instruction": row["instruction"], "context": row["context"]},
                completion=row["response"],
            )
            for i, row in enumerate(map(json.loads, islice(stream, 500)))
        ]
    settings: dict[str, Any] = {"max_prompt": 512, "max_completion": 128}
    trained = encode(rows, tokeniser, TEMPLATE, EncodingParams(training=True, **settings))
    evaluated = {
        row.id: row for row in encode(rows, tokeniser, TEMPLATE, EncodingParams(training=False, **settings)).rows
    }
    assert len(evaluated) == 500
    assert 300 < len(trained) < 500
    for row in trained.rows:
        assert row.prompt.tolist() == evaluated[row.id].prompt.tolist()
        assert row.completion is not None
        assert row.completion.ids[-1] == tokeniser.eos_id
        assert tokeniser.eos_id not in row.completion.ids[:-1]
        assert len(row.completion.ids) <= 128
    for row in evaluated.values():
        assert tokeniser.eos_id not in row.prompt[1:]
        assert len(row.prompt) <= 512
        assert row.text.endswith("Response:")
        assert row.prompt.tolist() == tokeniser.prompt(row.text)


def test_labels_are_those_that_are_declared(tokeniser: Tokeniser) -> None:
    rows = [example("a", completion="fine", label=True), example("b", completion="BAD", label=False)]
    encoded = train(rows, tokeniser)
    batch = collate(encoded.rows)
    assert batch.labels is not None
    assert batch.labels.tolist() == [True, False]
    assert batch.completions is not None
    assert (batch.completions.lengths > 0).all()
    assert batch.demonstrations.lengths[:, 0].tolist() == [len(tokeniser.completion("fine")) + 1, 0]
    assert batch.columns["references"] == (("fine",), ())  # an undesirable answer is nothing to compare with
    later = batch[[1]]
    assert later.labels is not None
    assert later.labels.tolist() == [False]
    assert later.completions is not None
    assert later.completions.ids.tolist() == batch.completions.ids[1:].tolist()


def test_a_column_called_label_is_a_column(tokeniser: Tokeniser) -> None:
    batch = collate(train([example("a", columns={"label": False})], tokeniser).rows)
    assert (batch.labels, batch.completions, batch.columns["label"]) == (None, None, (False,))
    assert int(batch.demonstrations.lengths[0, 0]) > 0


def test_the_chosen_answer_is_the_demonstration_of_a_pair_without_one(tokeniser: Tokeniser) -> None:
    rows = [example("a", completion=None, chosen="good", rejected="bad")]
    batch = collate(train(rows, tokeniser).rows)
    assert batch.pairs is not None
    assert batch.demonstrations.ids.tolist() == batch.pairs.chosen.ids.tolist()
    assert batch.columns["references"] == (("good",),)
    evaluated = evaluate(rows, tokeniser).rows[0]
    assert evaluated.columns["references"] == ("good",)
