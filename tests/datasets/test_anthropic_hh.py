"""HH: real counts, pairs that are none, prompts that cross no split, and files that stand in for others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hub.rows import dialogue, hh_folder, hh_row, write
from pydantic import ValidationError

from harness.api import Example, InputError, Turn
from harness.testing import check_dataset
from harness_plugins.datasets.anthropic_hh import AnthropicHH, AnthropicHHOptions, _turns, harness_register_datasets
from harness_plugins.upstream.lines import fold

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hub.server import FakeHub

SPLITS = ("train", "validation", "test")
#: What the real files at hand allow: the upstream's test files alone.
STAND_IN: dict[str, Any] = {
    "train_files": ("helpful-online/test", "helpful-rejection-sampled/test"),
    "test_files": ("helpful-base/test",),
}


def hh(**options: Any) -> AnthropicHH:
    return AnthropicHH(AnthropicHHOptions(**options))


def splits(data: AnthropicHH, source: Path, folder: Path) -> dict[str, list[Example]]:
    folder.mkdir(exist_ok=True)
    data.prepare(source, folder)
    return {split: list(data.load(folder, split)) for split in SPLITS}


def prompts(rows: Sequence[Example]) -> set[str]:
    return {fold(row.fields["prompt"]) for row in rows}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return hh_folder(
        tmp_path / "hh",
        {
            "helpful-base/train": [hh_row(n, turns=1 + n % 3) for n in range(300)],
            "helpful-base/test": [hh_row(n) for n in range(1000, 1050)],
        },
    )


@pytest.fixture
def work(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture(scope="module")
def real(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Example]]:
    return splits(hh(**STAND_IN), real_data / "hh-rlhf", tmp_path_factory.mktemp("hh"))


def test_the_real_files(real: dict[str, list[Example]]) -> None:
    assert {split: len(rows) for split, rows in real.items()} == {"train": 3677, "validation": 169, "test": 2339}
    assert not prompts(real["train"]) & (prompts(real["validation"]) | prompts(real["test"]))
    assert not prompts(real["validation"]) & prompts(real["test"])
    # the first thousand of the test are the upstream's first, in its order
    numbers = [int(row.id.removeprefix("hh-helpful-base-test-")) for row in real["test"]]
    assert numbers == sorted(numbers)
    assert numbers[:3] == [1, 2, 3]
    assert numbers[999] == 1008  # eight of them are no pairs
    assert {row.columns["subset"] for row in real["train"]} == {"helpful-online", "helpful-rejection-sampled"}


def test_every_real_pair_is_one(real: dict[str, list[Example]]) -> None:
    for row in (row for rows in real.values() for row in rows):
        assert row.chosen
        assert row.rejected
        assert row.chosen != row.rejected
        assert row.fields["prompt"].endswith("\n\nAssistant:")
        assert row.fields["prompt"].startswith("\n\nHuman:")
        assert "\n\nAssistant:" not in row.chosen + row.rejected
        assert row.columns["turns"] == row.fields["prompt"].count("\n\nHuman:")


def test_what_the_notes_say_of_the_real_files(real_data: Path, work: Path) -> None:
    notes = hh(**STAND_IN).prepare(real_data / "hh-rlhf", work).notes
    assert "trained on what is a test file upstream: helpful-online/test, helpful-rejection-sampled/test" in notes
    assert notes[-1] == (
        "of 6240 pairs left out: 12 whose dialogues differ before the last reply, 7 with a blank reply, "
        "36 with equal replies"
    )
    assert not any(str(real_data) in note for note in notes)


def test_single_turns_of_the_real_files(real_data: Path, work: Path) -> None:
    data = hh(train_files=(), test_files=("helpful-base/test",), turns="single")
    data.prepare(real_data / "hh-rlhf", work)
    rows = list(data.load(work, "test"))
    assert {row.columns["turns"] for row in rows} == {1}
    assert 690 <= len(rows) <= 700  # of 700, those that are no pairs are not here


def test_a_row(folder: Path, work: Path) -> None:
    row = splits(hh(subsets=("helpful-base",)), folder, work)["test"][0]
    assert row == Example(
        id="hh-helpful-base-test-000001",
        fields={"prompt": "\n\nHuman: And what is 1000 and one?\n\nAssistant:"},
        turns=(Turn("user", "And what is 1000 and one?"),),
        completion=" It is 1001.",
        references=("It is 1001.",),
        chosen=" It is 1001.",
        rejected=" It is 1002, I think.",
        columns={"subset": "helpful-base", "turns": 1},
    )


def test_the_prompt_ends_at_the_last_reply(folder: Path, work: Path) -> None:
    rows = splits(hh(subsets=("helpful-base",)), folder, work)["train"]
    (row,) = [row for row in rows if row.id.endswith("-000003")]
    assert row.fields["prompt"] == dialogue(2, "", turns=3).rstrip(" ")
    assert row.columns["turns"] == 3
    assert [turn.role for turn in row.turns] == ["user", "assistant"] * 2 + ["user"]
    assert "".join(f"\n\n{'Human' if t.role == 'user' else 'Assistant'}: {t.content}" for t in row.turns) == (
        row.fields["prompt"].removesuffix("\n\nAssistant:")
    )


@pytest.mark.parametrize(
    ("prompt", "turns"),
    [
        ("\n\nHuman: a\n\nHuman: b\n\nAssistant:", [("user", "a\n\nb")]),
        (
            "\n\nHuman:  a \n\nAssistant: b\n\nc\n\nHuman: d\n\nAssistant:",
            [("user", "a"), ("assistant", "b\n\nc"), ("user", "d")],
        ),
        ("\n\nHuman: say Human: or Assistant:\n\nAssistant:", [("user", "say Human: or Assistant:")]),
        ("Hello\n\nHuman: a\n\nAssistant:", []),
        ("\n\nAssistant: a\n\nHuman: b\n\nAssistant:", []),
        ("\n\nHuman: a\n\nAssistant: b\n\nAssistant:", []),
    ],
)
def test_the_turns_of_a_dialogue(prompt: str, turns: list[tuple[str, str]]) -> None:
    assert [(turn.role, turn.content) for turn in _turns(prompt)] == turns


def test_the_turns_of_the_real_files(real: dict[str, list[Example]]) -> None:
    rows = [row for split in real.values() for row in split]
    without = sum(not row.turns for row in rows)
    assert without < len(rows) / 100
    for row in rows:
        assert [turn.role for turn in row.turns[::2]] == ["user"] * ((len(row.turns) + 1) // 2)
        assert not any("\n\nHuman:" in turn.content or "\n\nAssistant:" in turn.content for turn in row.turns)


def test_validation_is_cut_by_the_first_turn(tmp_path: Path, work: Path) -> None:
    rows = [hh_row(n, turns=turns) for n in range(400) for turns in (1, 2, 3)]
    source = hh_folder(tmp_path / "hh", {"helpful-base/train": rows, "helpful-base/test": [hh_row(9999)]})
    found = splits(hh(subsets=("helpful-base",)), source, work)
    first = {split: {prompt.split("assistant:")[0] for prompt in prompts(part)} for split, part in found.items()}
    assert not first["train"] & first["validation"]
    assert len(found["train"]) + len(found["validation"]) == 1200
    assert 20 <= len(found["validation"]) <= 120


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (hh_row(5, rejected=dialogue(6, "It is 6.")), "1 whose dialogues differ before the last reply"),
        (hh_row(5, rejected=dialogue(5, " \n")), "1 with a blank reply"),
        (hh_row(5, rejected=dialogue(5, "It is 6. ")), "1 with equal replies"),
        (hh_row(5, chosen="Hello.", rejected="Hello!"), "1 whose dialogues differ before the last reply"),
        (hh_row(1001, rejected=dialogue(1001, "So?")), "1 for training with a prompt of the test"),
    ],
)
def test_a_pair_that_is_left_out_is_counted(row: dict[str, str], said: str, tmp_path: Path, work: Path) -> None:
    files = {"helpful-base/train": [hh_row(1), row], "helpful-base/test": [hh_row(n) for n in range(1000, 1005)]}
    data = hh(subsets=("helpful-base",))
    notes = data.prepare(hh_folder(tmp_path / "hh", files), work).notes
    assert notes[-1] == f"of 7 pairs left out: {said}"
    assert [row.id for row in data.load(work, "train")] == ["hh-helpful-base-train-000001"]


def test_dialogues_of_several_turns_can_be_left_out(folder: Path, work: Path) -> None:
    found = splits(hh(subsets=("helpful-base",), turns="single"), folder, work)
    assert len(found["train"]) + len(found["validation"]) == 100
    assert {row.columns["turns"] for rows in found.values() for row in rows} == {1}


def test_the_order_of_the_test_files_is_the_order_of_the_test(tmp_path: Path, work: Path) -> None:
    names = ("harmless-base/test", "helpful-base/test")
    source = hh_folder(
        tmp_path / "hh", {name: [hh_row(10 * place + n) for n in range(3)] for place, name in enumerate(names)}
    )
    data = hh(train_files=(), test_files=names[::-1])
    data.prepare(source, work)
    assert [row.columns["subset"] for row in data.load(work, "test")] == ["helpful-base"] * 3 + ["harmless-base"] * 3


def test_the_contract(folder: Path, tmp_path: Path) -> None:
    (registration,) = harness_register_datasets()
    assert registration.provides == "preferences"
    check_dataset(registration, tmp_path / "work", {"subsets": ["helpful-base"]}, source=folder)


def test_one_file_where_one_is_read(folder: Path, work: Path) -> None:
    data = hh(train_files=(), test_files=("helpful-base/test",))
    path = folder / "helpful-base" / "test.jsonl.gz"
    assert data.identity(path) == data.identity(folder)
    data.prepare(path, work)
    assert len(list(data.load(work, "test"))) == 50
    with pytest.raises(InputError, match="one file was given for data set 'anthropic-hh', and it reads 2"):
        hh(subsets=("helpful-base",)).identity(path)


def test_a_split_without_files(folder: Path, work: Path) -> None:
    data = hh(train_files=(), test_files=("helpful-base/test",))
    data.prepare(folder, work)
    with pytest.raises(InputError, match="no file for the split 'train'; expected names in train_files"):
        data.load(work, "train")
    with pytest.raises(InputError, match="no such split, got 'dev'"):
        data.load(work, "dev")


def test_a_missing_file_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match=r"harmless-base/test\.jsonl\[\.gz\]"):
        hh(subsets=("helpful-base", "harmless-base")).identity(folder)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"train_files": ("helpful-base/test",), "test_files": ("helpful-base/test",)}, "cannot be for training and"),
        ({"train_files": (), "test_files": ()}, "name a file at least"),
        ({"train_files": ("helpful-best/test",)}, "train_files"),
        ({"subsets": ("red-team-attempts",)}, "subsets"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        AnthropicHHOptions(**options)


def test_a_broken_line_is_named(tmp_path: Path, work: Path) -> None:
    source = write(tmp_path / "test.jsonl", [hh_row(1), {"chosen": "x"}])
    with pytest.raises(InputError, match=r"test\.jsonl:2: the field 'rejected' is missing"):
        hh(train_files=(), test_files=("helpful-base/test",)).prepare(source, work)


def test_the_hub_gives_what_the_files_give(folder: Path, work: Path, hub: FakeHub) -> None:
    for path in folder.rglob("*.gz"):
        name = f"{path.parent.name}/{path.name}"
        hub.files["Anthropic/hh-rlhf", name] = path.read_bytes()
    data = hh(subsets=("helpful-base",), revision=hub.commit)
    found = data.prepare(None, work)
    assert (found.origin, found.revision) == ("Anthropic/hh-rlhf", hub.commit)
    other = work / "other"
    assert splits(data, folder, other) == {split: list(data.load(work, split)) for split in SPLITS}
    assert found.sha256 == data.prepare(folder, other).sha256
    assert "revision" in data.identity(None)["helpful-base/test"]
