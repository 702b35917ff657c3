"""Conversations in files: as ``messages``, and in TRL's conversational forms."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hub.rows import write

from harness.api import Example, InputError, Turn
from harness.testing import check_dataset
from harness_plugins.datasets.files import Files, harness_register_datasets, kind_of
from harness_plugins.datasets.files.fields import FilesOptions

if TYPE_CHECKING:
    from pathlib import Path


def said(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


SYSTEM, USER, REPLY = said("system", "Be brief."), said("user", "Name a cat."), said("assistant", "Tom.")
MORE, ANSWER, OTHER = said("user", "And a mouse?"), said("assistant", "Jerry."), said("assistant", "No.")
TURNS = {id(message): Turn(message["role"], message["content"]) for message in (SYSTEM, USER, REPLY, MORE)}


def turns(*messages: dict[str, Any]) -> tuple[Turn, ...]:
    return tuple(TURNS[id(message)] for message in messages)


def read(folder: Path, *rows: dict[str, Any], **options: Any) -> list[Example]:
    data = Files(FilesOptions(**options))
    source = write(folder / "a.jsonl", list(rows))
    prepared = folder / "prepared"
    prepared.mkdir(exist_ok=True)
    data.prepare(source, prepared)
    return list(data.load(prepared, "train"))


def test_messages_end_with_the_demonstration(tmp_path: Path) -> None:
    rows = [{"messages": [USER, REPLY], "level": 1}, {"messages": [SYSTEM, USER, REPLY, MORE, ANSWER], "level": 2}]
    one, many = read(tmp_path, *rows)
    assert (one.completion, one.references, one.turns) == ("Tom.", ("Tom.",), turns(USER))
    assert one.fields == {"instruction": "Name a cat.", "prompt": "Name a cat.", "context": ""}
    assert (many.completion, many.turns) == ("Jerry.", turns(SYSTEM, USER, REPLY, MORE))
    assert many.fields == {
        "conversation": "System: Be brief.\n\nUser: Name a cat.\n\nAssistant: Tom.\n\nUser: And a mouse?"
    }
    assert [row.columns for row in (one, many)] == [{"level": 1}, {"level": 2}]
    assert one.id != many.id
    (registration,) = harness_register_datasets()
    check_dataset(registration, tmp_path / "work", source=write(tmp_path / "b.jsonl", rows))


def test_what_a_row_says_beside_its_messages_must_be_said_in_them(tmp_path: Path) -> None:
    rows = [{"messages": [USER, REPLY], "prompt": "Name a cat.", "completion": None}]
    assert [row.completion for row in read(tmp_path, *rows)] == ["Tom."]
    with pytest.raises(InputError, match=r"has messages and a 'completion' that none of them says, got 'Kitty\.'"):
        read(tmp_path, {"messages": [USER, REPLY], "completion": "Kitty."})
    with pytest.raises(InputError, match=r"a 'prompt' that none .*\n.*messages: null"):
        read(tmp_path, {"messages": [USER, REPLY], "prompt": "Name a dog."})


def test_another_field_may_hold_them(tmp_path: Path) -> None:
    (row,) = read(tmp_path, {"talk": [USER, REPLY], "messages": 3}, columns={"messages": "talk"})
    assert (row.turns, row.columns) == (turns(USER), {"messages": 3})


@pytest.mark.parametrize(
    ("row", "options", "expected"),
    [
        ({"prompt": [USER], "completion": [REPLY]}, {}, {"completion": "Tom."}),
        ({"prompt": [SYSTEM, USER], "completion": [REPLY]}, {}, {"completion": "Tom.", "turns": (SYSTEM, USER)}),
        ({"prompt": [USER], "completion": "Tom."}, {}, {"completion": "Tom."}),
        ({"prompt": "Name a cat.", "completion": [REPLY]}, {}, {"completion": "Tom."}),
        (
            {"prompt": [USER], "completion": [REPLY, MORE, ANSWER]},
            {},
            {"completion": "Jerry.", "turns": (USER, REPLY, MORE)},
        ),
        ({"prompt": [USER], "chosen": [REPLY], "rejected": [OTHER]}, {}, {"chosen": "Tom.", "rejected": "No."}),
        ({"chosen": [USER, REPLY], "rejected": [USER, OTHER]}, {}, {"chosen": "Tom.", "rejected": "No."}),
        (
            {"prompt": [USER], "chosen": [REPLY, MORE, ANSWER], "rejected": [REPLY, MORE, OTHER]},
            {},
            {"chosen": "Jerry.", "rejected": "No.", "turns": (USER, REPLY, MORE)},
        ),
        (
            {"prompt": [USER], "completion": [REPLY], "label": True},
            {"kind": "unpaired_preferences"},
            {"completion": "Tom.", "label": True},
        ),
        ({"frage": [USER], "gut": [REPLY], "schlecht": [OTHER]}, {"columns": {"prompt": "frage", "chosen": "gut",
          "rejected": "schlecht"}}, {"chosen": "Tom.", "rejected": "No."}),
        ({"prompt": [USER]}, {"columns": {"completion": None}}, {}),
        ({"messages": [SYSTEM, USER]}, {"columns": {"completion": None}}, {"turns": (SYSTEM, USER)}),
    ],
)  # fmt: skip
def test_trls_conversational_forms(
    tmp_path: Path, row: dict[str, Any], options: dict[str, Any], expected: dict[str, Any]
) -> None:
    (example,) = read(tmp_path, row, **options)
    wanted = {"turns": (USER,), "completion": None, "chosen": None, "rejected": None, "label": None} | expected
    found = {name: getattr(example, name) for name in wanted}
    assert found == {**wanted, "turns": turns(*wanted["turns"])}
    kind = kind_of(FilesOptions(**options), tmp_path / "a.jsonl", "train")
    chosen, label = expected.get("chosen"), expected.get("label")
    answered = "unpaired_preferences" if label else "demonstrations" if expected.get("completion") else "prompts"
    assert kind == ("preferences" if chosen else answered)


@pytest.mark.parametrize(
    ("row", "place", "what"),
    [
        ({"messages": [said("human", "a"), REPLY]}, "a.jsonl:1, messages[0]", "not a role"),
        ({"messages": [said("asistant", "a"), REPLY]}, "messages[0]", "did you mean 'assistant'"),
        ({"messages": [{"from": "human", "value": "a"}]}, "messages[0]", "ShareGPT"),
        ({"messages": [USER, said("assistant", None)]}, "messages[1]", "not a text, got 'null'"),
        ({"messages": [USER, said("assistant", [{"type": "text"}])]}, "messages[1]", "not a text, got 'list'"),
        ({"messages": [USER, said("assistant", " ")]}, "messages[1]", "blank"),
        ({"messages": [USER, {**REPLY, "tool_calls": [{}]}]}, "messages[1]", "tool_calls"),
        ({"messages": [USER, SYSTEM, REPLY]}, "messages[1]", "speaks first or not at all"),
        ({"messages": [REPLY]}, "a.jsonl:1", "nothing before the answer"),
        ({"messages": [SYSTEM, REPLY]}, "a.jsonl:1", "where the user spoke last, got 'system'"),
        ({"messages": [USER, REPLY, ANSWER]}, "a.jsonl:1", "got 'user, assistant'"),
        ({"messages": [USER]}, "a.jsonl:1", "the field 'completion' is missing"),
        ({"prompt": [USER], "completion": [MORE]}, "a.jsonl:1, completion", "ends with what the assistant says"),
        ({"prompt": [USER, REPLY], "completion": [ANSWER]}, "a.jsonl:1", "where the user spoke last"),
        ({"prompt": [], "completion": [ANSWER]}, "a.jsonl:1", "nothing before the answer"),
        ({"chosen": [USER, REPLY], "rejected": [MORE, OTHER]}, "a.jsonl:1", "do not answer the same conversation"),
        ({"prompt": [USER], "chosen": [REPLY], "rejected": [REPLY, MORE, OTHER]}, "a.jsonl:1", "same conversation"),
    ],
)
def test_broken_conversations_name_their_place(tmp_path: Path, row: dict[str, Any], place: str, what: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, row)
    assert place in str(caught.value)
    assert what in str(caught.value)
    kept = read(tmp_path, {"messages": [USER, REPLY]}, row, bad_rows="skip")
    assert [example.completion for example in kept] == ["Tom."]


def test_texts_and_lists_that_are_no_messages_stay_what_they_are(tmp_path: Path) -> None:
    (row,) = read(tmp_path, {"prompt": "a", "completion": "b", "messages": "x", "tags": [{"role": 1}]})
    assert (row.turns, row.columns) == ((), {"messages": "x", "tags": [{"role": 1}]})
    assert json.dumps(row.fields) == '{"instruction": "a", "prompt": "a", "context": ""}'
