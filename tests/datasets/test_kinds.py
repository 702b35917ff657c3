"""Kinds of data in a user's own files: declared, or told by the first row; TRL's formats as TRL reads them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from hub.own import files_options
from hub.rows import write
from pydantic import ValidationError

from harness.api import Example, InputError
from harness.testing import check_dataset
from harness_plugins.datasets.files import Files, harness_register_datasets, kind_of
from harness_plugins.datasets.files.fields import FilesOptions, split_prompt

if TYPE_CHECKING:
    from pathlib import Path

#: Rows in TRL's formats (its page "Dataset formats and types"), and what they are.
PROMPT_COMPLETION = {"prompt": "The sky is", "completion": " blue."}
EXPLICIT = {"prompt": "The sky is", "chosen": " blue.", "rejected": " green."}
IMPLICIT = {"chosen": "The sky is blue.", "rejected": "The sky is green."}
UNPAIRED = {"prompt": "The sky is", "completion": " blue.", "label": True}


def read(folder: Path, *rows: Any, **options: Any) -> list[Example]:
    source = write(folder / "a.jsonl", rows)
    data = Files(files_options(**options))
    prepared = folder / "prepared"
    prepared.mkdir(exist_ok=True)
    data.prepare(source, prepared)
    return list(data.load(prepared, "train"))


def kind(folder: Path, *rows: Any, **options: Any) -> str | None:
    return kind_of(files_options(**options), write(folder / "a.jsonl", rows), "train")


@pytest.mark.parametrize(
    ("row", "options", "expected"),
    [
        (PROMPT_COMPLETION, {}, "demonstrations"),
        (EXPLICIT, {}, "preferences"),
        (IMPLICIT, {}, "preferences"),
        ({**EXPLICIT, "completion": " blue."}, {}, "demonstrations"),
        ({**EXPLICIT, "completion": " blue."}, {"kind": "preferences"}, "preferences"),
        (UNPAIRED, {"kind": "unpaired_preferences"}, "unpaired_preferences"),
        (UNPAIRED, {"label": "label"}, "unpaired_preferences"),
        (UNPAIRED, {"kind": "demonstrations"}, "demonstrations"),
        ({**PROMPT_COMPLETION, "label": "sky"}, {}, "demonstrations"),
        ({"prompt": "x", "references": ["a"]}, {"kind": "references"}, "references"),
        ({"prompt": "x", "answers": ["a"]}, {"completion": None, "references": "answers"}, "references"),
        ({"prompt": "x"}, {"kind": "prompts"}, "prompts"),
        ({"prompt": "x"}, {"completion": None}, "prompts"),
        ({"a": "x", "b": "y", "p": "z"}, {"prompt": "p", "chosen": "a", "rejected": "b"}, "preferences"),
    ],
)
def test_the_kind_is_declared_or_told_by_the_first_row(
    row: Any, options: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    assert kind(tmp_path, row, **options) == expected
    assert len(read(tmp_path, row, **options)) == 1


def test_a_packed_file_and_a_folder_say_it_as_well(tmp_path: Path) -> None:
    packed = write(tmp_path / "b.jsonl.gz", [EXPLICIT])
    assert kind_of(FilesOptions(), packed, "train") == "preferences"
    write(tmp_path / "files" / "train.jsonl", [EXPLICIT])
    write(tmp_path / "files" / "test.jsonl", [PROMPT_COMPLETION])
    kinds = [kind_of(FilesOptions(), tmp_path / "files", split) for split in ("train", "test", "validation")]
    assert kinds == ["preferences", "demonstrations", None]
    assert kind_of(FilesOptions(), None, "train") is None


def test_a_true_or_false_label_must_be_declared(tmp_path: Path) -> None:
    for value in (True, False, "False"):  # as CSV has it
        row = {**UNPAIRED, "label": value}
        for ask in (kind, read):
            with pytest.raises(InputError, match=r"kind: unpaired_preferences.* or kind: demonstrations"):
                ask(tmp_path, row)
    (found,) = read(tmp_path, UNPAIRED, kind="demonstrations")
    assert (found.label, found.columns) == (None, {"label": True})


def test_unpaired_preferences(tmp_path: Path) -> None:
    rows = [UNPAIRED, {**UNPAIRED, "completion": " BAD", "label": False}]
    good, bad = read(tmp_path, *rows, kind="unpaired_preferences")
    assert (good.label, good.completion, good.demonstration, good.references) == (True, " blue.", " blue.", (" blue.",))
    assert (bad.label, bad.completion, bad.demonstration, bad.references) == (False, " BAD", None, ())
    assert not good.columns
    renamed = [{"q": "x", "a": "y", "ok": False, "label": 3}]
    (found,) = read(tmp_path, *renamed, prompt="q", completion="a", label="ok")
    assert (found.label, found.columns) == (False, {"label": 3})
    for wrong in (None, 1, "yes"):
        with pytest.raises(InputError, match=r"a.jsonl:1: the field 'label' is neither true nor false"):
            read(tmp_path, {**UNPAIRED, "label": wrong}, kind="unpaired_preferences")
    with pytest.raises(InputError, match="the field 'label' is missing"):
        read(tmp_path, PROMPT_COMPLETION, kind="unpaired_preferences")


def test_preferences_without_a_completion_teach_the_chosen_answer(tmp_path: Path) -> None:
    (found,) = read(tmp_path, EXPLICIT)
    assert (found.completion, found.chosen, found.rejected) == (None, " blue.", " green.")
    assert found.demonstration == " blue."
    (found,) = read(tmp_path, {**EXPLICIT, "completion": "Red."}, kind="preferences")
    assert found.demonstration == "Red."


def test_an_implicit_prompt_is_the_longest_common_beginning(tmp_path: Path) -> None:
    explicit, implicit = read(tmp_path, EXPLICIT)[0], read(tmp_path, IMPLICIT)[0]
    assert implicit.fields == explicit.fields == {"instruction": "The sky is", "prompt": "The sky is", "context": ""}
    assert (implicit.chosen, implicit.rejected) == (explicit.chosen, explicit.rejected)
    (found,) = read(tmp_path, {**IMPLICIT, "prompt": "a title"}, prompt=None, kind="preferences")
    assert (found.fields["prompt"], found.columns) == ("The sky is", {"prompt": "a title"})


def test_implicit_prompts_are_those_of_trl() -> None:
    data_utils = pytest.importorskip("trl.data_utils")
    draw = random.Random(0)
    compared = 0
    for _ in range(400):
        prompt = "p" + "".join(draw.choices("ab ", k=draw.randrange(12)))
        answers = ["".join(draw.choices("ab ", k=draw.randrange(1, 8))) + end for end in "xy"]
        chosen, rejected = prompt + answers[0], prompt + answers[1]
        try:
            found = split_prompt(chosen, rejected, "here")
        except InputError as error:
            assert "blank" in error.what or "begins with" in error.what  # noqa: PT017  # which of the two is chance
            continue
        theirs = data_utils.extract_prompt({"chosen": chosen, "rejected": rejected})
        assert found == (theirs["prompt"], theirs["chosen"], theirs["rejected"])
        compared += 1
    assert compared > 300


@pytest.mark.parametrize(
    ("chosen", "rejected", "says"),
    [
        ("The sky", "A sky", "no beginning in common"),
        ("The sky is blue", "The sky is", "begins with the whole other one"),
        ("The sky", "The sky", "begins with the whole other one"),
        (" a", " b", "no beginning in common"),
        ("The sky is b", "The sky is  ", "blank without the prompt"),
    ],
)
def test_texts_without_a_prompt(chosen: str, rejected: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says) as caught:
        read(tmp_path, {"chosen": chosen, "rejected": rejected})
    assert str(caught.value).startswith(f"{tmp_path}/a.jsonl:1: ")


def test_a_row_that_lacks_its_prompt_is_no_implicit_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a.jsonl:2: the field 'prompt' is missing"):
        read(tmp_path, EXPLICIT, {"chosen": "x a", "rejected": "x b"})


def test_references_alone(tmp_path: Path) -> None:
    (found,) = read(tmp_path, {"prompt": "x", "references": ["a", "b"], "completion": "c"}, kind="references")
    assert (found.completion, found.references, found.columns) == (None, ("a", "b"), {"completion": "c"})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kind": "demonstrations", "completion": None}, "rows of kind demonstrations have a completion"),
        ({"kind": "demonstrations", "label": "label"}, "rows of kind demonstrations have no label"),
        ({"kind": "unpaired_preferences", "chosen": "a", "rejected": "b"}, "unpaired_preferences have no chosen"),
        ({"kind": "references", "completion": "answer"}, "rows of kind references have no completion"),
        ({"kind": "prompts", "references": "r"}, "rows of kind prompts have no references"),
        ({"label": "l", "chosen": "a", "rejected": "b"}, "label belongs to unpaired preferences"),
        ({"prompt": None, "label": "l"}, "rows of kind unpaired_preferences have a prompt"),
        ({"kind": "pairs"}, "Input should be 'demonstrations', 'preferences', 'unpaired_preferences'"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        files_options(**options)


@pytest.mark.parametrize(
    ("row", "options"),
    [
        (EXPLICIT, {}),
        (IMPLICIT, {}),
        (UNPAIRED, {"kind": "unpaired_preferences"}),
        ({"prompt": "x", "references": ["a"]}, {"kind": "references"}),
        ({"prompt": "x"}, {"kind": "prompts"}),
    ],
)
def test_the_contract_holds_for_each_kind(row: Any, options: dict[str, Any], tmp_path: Path) -> None:
    (registration,) = harness_register_datasets()
    source = write(tmp_path / "a.jsonl", [row, {**row, "n": 1}])
    check_dataset(registration, tmp_path / "work", options, source)
