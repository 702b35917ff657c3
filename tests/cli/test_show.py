"""``harness show data``: rows as they will be tokenised, and a first look at a file of one's own."""

from __future__ import annotations

import gzip
import json
import shutil
from typing import TYPE_CHECKING, Any

import datasets
import pytest
from click.testing import CliRunner
from hub.own import as_csv, as_parquet, as_zstd
from hub.rows import write
from plan.files import Planner, small
from ruamel.yaml import YAML

from harness.cli import main
from harness.plugins.loader import load_registry
from harness.stages.stored_rows import read
from harness.testing.tiny import tiny_tokeniser
from harness.text.bpe import train_bpe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS: list[dict[str, Any]] = [
    {"question": f"What is {n} and one?", "answer": f"It is {n + 1}.", "topic": f"t{n % 3}"} for n in range(60)
]
PAIRS = [{"prompt": f"Say {n}.", "chosen": f"{n}!", "rejected": "No."} for n in range(30)]
LABELLED = [{"prompt": f"Say {n}.", "completion": f"{n}!", "label": n % 2 == 0} for n in range(30)]
COLUMNS = {"prompt": "question", "completion": "answer"}


def show(*arguments: object, code: int = 0) -> str:
    done = CliRunner().invoke(main, ["show", "data", *map(str, arguments)])
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done.output


def seen(*arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(show(*arguments, "--json"))
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a benchmark on one CSV file, of which some rows are too long and one cannot be used."""
    rows = [*ROWS[:4], {**ROWS[4], "answer": "long " * 200}, {**ROWS[5], "answer": ""}, *ROWS[6:]]
    (tmp_path / "own.csv").write_bytes(as_csv(rows))
    use = {"dataset": "files", "path": "own.csv", "columns": COLUMNS, "holdout": {"test": 0.2}, "bad_rows": "skip"}
    content = small(tmp_path, train=use, evaluate=[{**use, "label": "held out"}])
    (tmp_path / "own.yaml").write_text(json.dumps(content), encoding="utf-8")
    return tmp_path / "own.yaml"


def test_a_benchmark_that_ships_is_shown_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("harness.cli.show._chosen_use", lambda benchmark, use: pytest.fail(benchmark.benchmark))
    with pytest.raises(pytest.fail.Exception, match="dolly"):
        CliRunner().invoke(main, ["show", "data", "dolly"], catch_exceptions=False)


def test_rows_are_shown_as_they_are_tokenised(file: Path, tmp_path: Path) -> None:
    found = seen(file, "-n", 60, "--results", tmp_path / "results")
    texts = {row["fate"]: row for row in found["shown"]}
    used, long = texts["used"], next(row for fate, row in texts.items() if fate != "used")
    assert long["fate"].startswith("left out: the completion has ")
    assert long["fate"].endswith(" tokens, 24 at most")
    prompt, answer = used["segments"]
    assert (prompt["name"], prompt["trained"], prompt["role"]) == ("prompt", False, "not trained on")
    assert "".join(text for text, _ in prompt["pieces"]).startswith("Q: What is ")
    assert (answer["name"], answer["trained"], answer["role"]) == ("completion", True, "trained on")
    assert answer["pieces"][-1] == ["<|endoftext|>", True]
    assert answer["ids"][-1] == 0
    assert found["used"] == found["rows"] - 1 == found["counts"]["kept"]
    assert found["lengths"]["completion"]["most"] > 24 == found["lengths"]["completion"]["limit"]
    assert (
        found["lengths"]["prompt"]["least"]
        <= found["lengths"]["prompt"]["median"]
        <= found["lengths"]["prompt"]["most"]
    )
    assert [note.partition(" (")[0] for note in found["notes"]] == [
        "own.csv: train by a holdout of train", "own.csv: 1 of 60 rows left out as bad: own.csv:7",
    ]  # fmt: skip
    assert not (tmp_path / "results").exists()


def test_what_is_shown_is_what_a_run_prepares(file: Path, tmp_path: Path) -> None:
    planner = Planner(tmp_path, load_registry())
    plan = planner.plan(planner.load(json.loads(file.read_text(encoding="utf-8"))))
    prepared = list(read(planner.store.open("prepare", plan.train.id or "")))
    before = seen(file, "-n", 99, "--results", tmp_path / "nothing")
    (tmp_path / "own.csv").rename(tmp_path / "kept.csv")
    shutil.copyfile(tmp_path / "kept.csv", tmp_path / "own.csv")
    stored = seen(file, "-n", 99, "--results", planner.store.root)
    assert [row["id"] for row in before["shown"]] == [row.id for row in prepared]
    assert stored == before


def test_text_that_reads_like_a_special_token_is_told_apart(file: Path) -> None:
    rows = [{**row, "answer": f"<|endoftext|> {row['answer']}"} for row in ROWS]
    (file.parent / "own.csv").write_bytes(as_csv(rows))
    said = show(file, "-n", 1)
    assert "\n    <|endoftext|> It is " in said
    assert ".«<|endoftext|>»\n" in said


def test_an_adapter_that_names_itself_as_its_base_is_one_message(file: Path) -> None:
    folder = file.parent / "mine"
    folder.mkdir()
    told = {"peft_type": "LORA", "base_model_name_or_path": str(folder)}
    (folder / "adapter_config.json").write_text(json.dumps(told), encoding="utf-8")
    content = json.loads(file.read_text(encoding="utf-8")) | {"models": [{"name": "mine", "path": str(folder)}]}
    file.write_text(json.dumps(content), encoding="utf-8")
    assert "the adapter is named as its own base" in show(file, code=2)


def test_tokens_can_be_parted(file: Path) -> None:
    said = show(file, "-n", 1, "--tokens")
    line = next(line for line in said.splitlines() if line.endswith("|«<|endoftext|>»"))
    (answer,) = [s for s in seen(file, "-n", 1, "--tokens")["shown"][0]["segments"] if s["name"] == "completion"]
    assert line.strip().count("|«") == 1
    assert len(answer["pieces"]) == len(answer["ids"])


def test_a_long_prompt_of_a_test_is_cut_and_said_to_be(file: Path) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    content["recipe"]["max_prompt_length"] = 8
    file.write_text(json.dumps(content), encoding="utf-8")
    found = seen(file, "--use", "held out")
    assert all("the prompt is cut from" in row["fate"] and "to 8 tokens" in row["fate"] for row in found["shown"])
    assert found["counts"]["cut"] == found["rows"] == found["used"]
    assert not any(segment["trained"] for row in found["shown"] for segment in row["segments"])
    training = seen(file)
    assert training["used"] == 0  # and the look at them says why
    assert all(row["fate"].startswith("left out: the prompt has ") for row in training["shown"])


def test_pairs_and_labels_say_what_is_made_of_each_answer(tmp_path: Path) -> None:
    for name, rows, options, roles in (
        ("pairs", PAIRS, {}, [["not trained on", "trained on; the preferred answer",
                               "no supervised training; the other answer"]]),
        ("labels", LABELLED, {"kind": "unpaired_preferences"},
         [["not trained on", "trained on; desirable"], ["not trained on", "no supervised training; undesirable"]]),
    ):  # fmt: skip
        use = {"dataset": "files", "path": str(write(tmp_path / f"{name}.jsonl", rows)), **options}
        path = tmp_path / f"{name}.yaml"
        path.write_text(json.dumps(small(tmp_path, train=use, evaluate=[{**use, "label": "t"}])), encoding="utf-8")
        shown = seen(path, "-n", len(roles))["shown"]
        assert [[segment["role"] for segment in row["segments"]] for row in shown] == roles


def test_a_model_that_exists_is_read_by_its_own_tokenizer(file: Path, real_model: Path) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    content["models"].append({"name": "gpt2-7m", "path": str(real_model)})
    file.write_text(json.dumps(content), encoding="utf-8")
    own, theirs = seen(file, "-n", 1), seen(file, "-n", 1, "--model", "gpt2-7m")
    assert own["shown"][0]["id"] == theirs["shown"][0]["id"]
    assert own["shown"][0]["segments"][0]["ids"] != theirs["shown"][0]["segments"][0]["ids"]


def test_an_adapter_is_read_by_its_own_tokenizer_or_its_bases(file: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "base", tmp_path / "adapter"
    train_bpe([row["answer"] for row in ROWS], 300, one).save(one)
    other.mkdir()
    (other / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(one)}), encoding="utf-8")
    (other / "adapter_model.safetensors").touch()
    content = json.loads(file.read_text(encoding="utf-8"))
    content["models"] = [{"name": "mine", "path": str(other)}, {"name": "base", "path": str(one)}]
    file.write_text(json.dumps(content), encoding="utf-8")

    def ids(model: str) -> list[int]:
        found: list[int] = seen(file, "-n", 1, "--model", model)["shown"][0]["segments"][1]["ids"]
        return found

    assert ids("mine") == ids("base")
    tiny_tokeniser().save(other)  # one token a byte
    assert len(ids("mine")) > len(ids("base"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--use", "helt out"), "--use: the benchmark has no such data, got 'helt out'; expected one of held out, "),
        (("--model", "nwe"), "--model: the benchmark has no such model, got 'nwe'; expected one of new; did you mean"),
        (("-o", "train.columns.prompt=qestion"), "own.csv:2: no row can be used; the first says: the field "),
        (("-o", "train.columns.prompt=qestion"), "did you mean 'question'"),
    ],
)  # fmt: skip
def test_mistakes_are_one_message(arguments: tuple[str, ...], says: str, file: Path) -> None:
    assert says in show(file, *arguments, code=2)


def _saved(path: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(str(path))


FORMS = {
    "own.jsonl": b"".join(json.dumps(row).encode() + b"\n" for row in ROWS),
    "own.json": json.dumps(ROWS, indent=1).encode(),
    "own.csv": as_csv(ROWS),
    "own.parquet": as_parquet(ROWS),
}
PACKED: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".zst": as_zstd}


@pytest.mark.parametrize("name", [*FORMS, *(name + end for name in FORMS for end in PACKED), "saved", "own.arrow"])
def test_every_form_from_a_first_look_to_prepared_rows(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "saved":
        _saved(path)
    elif name == "own.arrow":
        _saved(tmp_path / "folder")
        shutil.copyfile(next((tmp_path / "folder").glob("*.arrow")), path)
    else:
        bare, _, end = name.partition(".")[2].partition(".")
        content = FORMS[f"own.{bare}"]
        path.write_bytes(PACKED[f".{end}"](content) if end else content)
    said = show(path)
    assert said.startswith(f"{path}: demonstrations; rows: ")
    lines = said.partition("In a benchmark file:\n")[2]
    use = YAML(typ="safe").load(lines)
    assert use["train"]["columns"] == COLUMNS
    planner = Planner(tmp_path, load_registry())
    plan = planner.plan(planner.load(small(tmp_path, **use)))
    stages = (plan.train, *plan.evaluations.values())
    found = [list(read(planner.store.open("prepare", stage.id or ""))) for stage in stages]
    texts = [{row.fields["prompt"]: row.completion for row in rows} for rows in found]
    assert not texts[0].keys() & texts[1].keys()
    assert texts[0] | texts[1] == {row["question"]: row["answer"] for row in ROWS}


@pytest.mark.parametrize(
    ("rows", "kind", "columns"),
    [
        (PAIRS, "preferences", None),
        (LABELLED, "unpaired preferences", None),
        ([{"Instruction": "a", "input": "b", "output": f"c{n}"} for n in range(30)], "demonstrations",
         {"prompt": "Instruction", "completion": "output", "context": "input"}),
        ([{"query": f"a{n}", "answers": ["b"]} for n in range(30)], "references",
         {"prompt": "query", "references": "answers"}),
        ([{"question": f"q{n}", "preferred": "a", "worse": "b"} for n in range(30)], "preferences",
         {"prompt": "question", "chosen": "preferred", "rejected": "worse"}),
        ([{"text": f"a{n}"} for n in range(30)], "prompts", {"prompt": "text"}),
    ],
)  # fmt: skip
def test_what_rows_are_is_guessed_from_the_names_of_their_columns(
    rows: list[dict[str, Any]], kind: str, columns: dict[str, str] | None, tmp_path: Path
) -> None:
    path = write(tmp_path / "own.jsonl", rows)
    assert show(path).startswith(f"{path}: {kind}; rows: ")
    assert seen(path)["use"]["train"].get("columns") == columns


def test_bad_rows_are_skipped_and_named_at_a_first_look(tmp_path: Path) -> None:
    path = write(tmp_path / "own.jsonl", [*ROWS, {"question": "x", "answer": None}, '{"question": '])
    said = show(path, "-n", 1)
    assert "note: own.jsonl: 2 of 62 rows left out as bad: own.jsonl:61 (the field 'answer' is not a text); " in said
    assert "bad_rows: skip" in said


def test_what_cannot_be_read_is_one_message(tmp_path: Path) -> None:
    for name, content, says in (
        ("a.txt", b"words", "a.txt: this file does not begin as JSON does"),
        ("a.jsonl", b'{"a": "x", "b": 3}\n', "a.jsonl:1: no column looks like a prompt, got 'a, b'"),
        ("a.jsonl", b'{"question": "x", "answer": ""}\n', "a.jsonl:1: no row can be used; the first says: the field"),
    ):
        (tmp_path / name).write_bytes(content)
        assert says in show(tmp_path / name, code=2)
    assert "no such file or folder" in show(tmp_path / "nothing.csv", code=2)
