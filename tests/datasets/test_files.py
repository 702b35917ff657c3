"""A user's own files: options name the fields, and every mistake names file and line."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from hub.own import files_options
from hub.rows import write
from pydantic import ValidationError

from harness.api import Example, InputError
from harness.testing import check_dataset
from harness_plugins.datasets.files import Files, harness_register_datasets
from harness_plugins.datasets.files.fields import FilesOptions

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [{"prompt": f"Say {n}.", "completion": f"{n}!", "level": n} for n in range(6)]


def read(source: Path, folder: Path, split: str = "train", **options: Any) -> list[Example]:
    data = Files(files_options(**options))
    prepared = folder / "prepared"
    prepared.mkdir(exist_ok=True)
    data.prepare(source, prepared)
    return list(data.load(prepared, split))


def test_trls_names_are_the_defaults(tmp_path: Path) -> None:
    rows = read(write(tmp_path / "a.jsonl", ROWS), tmp_path)
    assert [row.completion for row in rows] == [f"{n}!" for n in range(6)]
    assert rows[3] == Example(
        id=rows[3].id, fields={"instruction": "Say 3.", "prompt": "Say 3.", "context": ""}, completion="3!",
        references=("3!",), columns={"level": 3},
    )  # fmt: skip


def test_options_name_the_fields(tmp_path: Path) -> None:
    row = {
        "nr": 7, "frage": "Wer?", "text": None, "antwort": "Ich.", "weitere": ["Ich.", "Ich war es."], "gut": "Ich.",
        "schlecht": "Du.", "art": ["a", {"b": 1}],
    }  # fmt: skip
    (found,) = read(
        write(tmp_path / "a.jsonl.gz", [row]), tmp_path,
        prompt="frage", context="text", completion="antwort", references="weitere", chosen="gut", rejected="schlecht",
        id="nr",
    )  # fmt: skip
    assert found == Example(
        id="7", fields={"instruction": "Wer?", "prompt": "Wer?", "context": ""}, completion="Ich.",
        references=("Ich.", "Ich war es."), chosen="Ich.", rejected="Du.", columns={"art": ["a", {"b": 1}]},
    )  # fmt: skip


def test_references_without_a_demonstration(tmp_path: Path) -> None:
    source = write(
        tmp_path / "a.jsonl", [{"prompt": "x", "answers": "one"}, {"prompt": "y", "answers": ["one", "two"]}]
    )
    rows = read(source, tmp_path, completion=None, references="answers")
    assert [(row.completion, row.references) for row in rows] == [(None, ("one",)), (None, ("one", "two"))]


def test_the_contract_with_a_folder_and_with_a_file(tmp_path: Path) -> None:
    (registration,) = harness_register_datasets()
    folder = tmp_path / "files"
    for split, part in (("train", ROWS[:3]), ("validation", ROWS[3:4]), ("test", ROWS[4:])):
        write(folder / f"{split}.jsonl{'.gz' if split == 'test' else ''}", part)
    check_dataset(registration, tmp_path / "work", source=folder)
    check_dataset(registration, tmp_path / "again", source=write(tmp_path / "one.jsonl", ROWS))
    assert [row.columns["level"] for row in read(folder, tmp_path, "test")] == [4, 5]


def test_plain_and_gzip_are_the_same(tmp_path: Path) -> None:
    plain, packed = write(tmp_path / "a.jsonl", ROWS), write(tmp_path / "b.jsonl.gz", ROWS)
    data = Files(FilesOptions())
    assert data.identity(plain) == data.identity(packed)
    assert read(plain, tmp_path) == read(packed, tmp_path)
    assert data.identity(plain) != data.identity(write(tmp_path / "c.jsonl", ROWS[1:]))


def test_ids_do_not_depend_on_the_order(tmp_path: Path) -> None:
    rows = [*ROWS, ROWS[2], ROWS[2]]  # three times the same row is no mistake
    one = read(write(tmp_path / "a.jsonl", rows), tmp_path)
    shuffled = random.Random(1).sample(rows, len(rows))
    other = read(write(tmp_path / "b.jsonl", shuffled), tmp_path)
    assert {row.id for row in one} == {row.id for row in other}
    assert len({row.id for row in one}) == 8
    levels = {row.id: row.columns["level"] for row in one}
    assert all(levels[row.id] == row.columns["level"] for row in other)


@pytest.mark.parametrize(
    ("line", "options", "says"),
    [
        ('{"prompt"', {}, "a.jsonl:2: broken JSON"),
        ({"instruction": "x"}, {}, "a.jsonl:2: the field 'prompt' is missing, got 'instruction'"),
        ({"prompt": "x", "Completion": "y"}, {}, "a.jsonl:2: the field 'completion' is missing"),
        ({"prompt": "x", "completion": ""}, {}, "a.jsonl:2: the field 'completion' is blank"),
        ({"prompt": ["x"], "completion": "y"}, {}, "a.jsonl:2: the field 'prompt' is not a text, got 'list'"),
        (
            {"prompt": [{"role": "user"}], "completion": "y"},
            {},
            "a.jsonl:2, prompt[0]: the content of a message is not a text, got 'null'",
        ),
        ({"prompt": "x", "completion": "y"}, {"context": "c"}, "a.jsonl:2: the field 'c' is missing"),
        ({"prompt": "x", "completion": "y", "c": 3}, {"context": "c"}, "a.jsonl:2: the field 'c' is not a text"),
        ({"prompt": "x", "completion": "y"}, {"references": "r"}, "a.jsonl:2: the field 'r' is missing"),
        (
            {"prompt": "x", "completion": "y", "r": ["a", ""]},
            {"references": "r"},
            "a.jsonl:2: the field 'r' is neither a text nor a list of texts",
        ),
        ({"prompt": "x", "completion": "y", "r": []}, {"references": "r"}, "a.jsonl:2: the field 'r' is neither"),
        (
            {"prompt": "x", "completion": "y", "good": "a"},
            {"chosen": "good", "rejected": "bad"},
            "a.jsonl:2: the field 'bad' is missing",
        ),
        ({"prompt": "x", "completion": "y"}, {"id": "nr"}, "a.jsonl:2: the field 'nr' is missing"),
        (
            {"prompt": "x", "completion": "y", "nr": True},
            {"id": "nr"},
            "a.jsonl:2: the field 'nr' is not an id, ",
        ),
        ({"prompt": "x", "completion": "y", "nr": 1.5}, {"id": "nr"}, "a.jsonl:2: the field 'nr' is not an id, "),
        ({"prompt": "x", "completion": "y", "nr": "0"}, {"id": "nr"}, "a.jsonl:2: this id is in "),
        (
            {"prompt": "x", "completion": "y", "references": ["z"]},
            {},
            "a.jsonl:2: a column cannot be called 'references'",
        ),
        ({"prompt": "x", "completion": "y", "log_metric": 1}, {}, "a.jsonl:2: a column cannot be called 'log_metric'"),
        (
            {"prompt": "x", "completion": "y", "reward_model": {"style": "rule"}},
            {},
            "a.jsonl:2: a column cannot be called 'reward_model'",
        ),
    ],
)
def test_a_broken_line_is_named(line: Any, options: dict[str, str], says: str, tmp_path: Path) -> None:
    fine = {"prompt": "x", "completion": "y", "c": "z", "r": "a", "good": "a", "bad": "b", "nr": 0}
    source = write(tmp_path / "a.jsonl", [fine, line])
    with pytest.raises(InputError) as caught:
        read(source, tmp_path, **options)
    assert str(caught.value).startswith(f"{tmp_path}/{says}")


def test_a_missing_field_says_which_option_names_it(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", [{"instruction": "x", "output": "y"}])
    with pytest.raises(InputError, match=r"`columns: \{prompt: NAME\}` names the column with the instruction"):
        read(source, tmp_path)
    with pytest.raises(InputError, match=r"`columns: \{completion: NAME\}` names the column with the demonstration"):
        read(source, tmp_path, prompt="instruction")
    assert len(read(source, tmp_path, prompt="instruction", completion="output")) == 1


def test_no_path(tmp_path: Path) -> None:
    data = Files(FilesOptions())
    for ask in (lambda: data.identity(None), lambda: data.prepare(None, tmp_path)):
        with pytest.raises(
            InputError, match=r"needs a file or folder of yours; expected path:(?s:.*)-o sources\.files=PATH"
        ):
            ask()


def test_paths_that_hold_nothing(tmp_path: Path) -> None:
    data = Files(FilesOptions())
    with pytest.raises(InputError, match="no such file or folder for data set 'files'"):
        data.identity(tmp_path / "nowhere")
    write(tmp_path / "files" / "dev.jsonl", ROWS)
    with pytest.raises(
        InputError,
        match=r"no file of a split, and is not a saved data set, got 'dev.jsonl'; expected train.jsonl\[.gz\] or",
    ):
        data.identity(tmp_path / "files")
    write(tmp_path / "files" / "train.jsonl", ROWS)
    with pytest.raises(InputError, match=r"no such split, got 'test'; expected one of train"):
        read(tmp_path / "files", tmp_path, "test")
    with pytest.raises(InputError, match="no such split, got 'dev'"):
        read(tmp_path / "files", tmp_path, "dev")
    write(tmp_path / "files" / "train.jsonl.gz", ROWS)
    with pytest.raises(InputError, match=r"is here twice, as train\.jsonl and train\.jsonl\.gz, got 'train'"):
        data.identity(tmp_path / "files")


def test_an_empty_split(tmp_path: Path) -> None:
    write(tmp_path / "files" / "train.jsonl", ROWS)
    write(tmp_path / "files" / "test.jsonl", ["", " "])
    assert len(read(tmp_path / "files", tmp_path, "train")) == 6
    with pytest.raises(InputError, match=r"test\.jsonl: this file has no rows"):
        read(tmp_path / "files", tmp_path, "test")


def test_chosen_and_rejected_go_together() -> None:
    with pytest.raises(ValidationError, match="chosen and rejected go together"):
        files_options(chosen="a")
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        FilesOptions(answer="a")  # type: ignore[call-arg]  # what a mistaken file would give
