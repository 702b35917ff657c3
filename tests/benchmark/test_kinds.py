"""What a file may do with data of each kind, as ``harness validate`` says it, with the plugins that ship."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from execution.bench import tiny

from harness.benchmark import load_benchmark
from harness.errors import InputError
from harness.plugins.loader import load_registry

if TYPE_CHECKING:
    from pathlib import Path

    from harness.spec.benchmark import Benchmark

TEST = {"dataset": "generated-instructions", "limit": 6, "label": "test"}


def load(folder: Path, row: dict[str, Any], methods: list[Any], **use: Any) -> Benchmark:
    data = folder / "rows.jsonl"
    data.write_text(json.dumps(row) + "\n", encoding="utf-8")
    train = {"dataset": "files", "path": str(data), **use}
    content = tiny(template={"text": "{instruction}"}, train=train, evaluate=[TEST], methods=methods, reward=None)
    file = folder / "bench.yaml"
    file.write_text(json.dumps(content), encoding="utf-8")
    return load_benchmark(file, registry=load_registry())


UNPAIRED = {"prompt": "x", "completion": "y", "label": True}
REFERENCES = {"prompt": "x", "references": ["a", "b"]}


@pytest.mark.parametrize(
    ("row", "use", "kind"),
    [
        ({"prompt": "x", "chosen": "y", "rejected": "z"}, {}, "preferences"),
        (UNPAIRED, {"kind": "unpaired_preferences"}, "unpaired_preferences"),
        (REFERENCES, {"kind": "references", "train_on_reference": 2}, "references"),
    ],
)
def test_the_kind_is_resolved(row: dict[str, Any], use: dict[str, Any], kind: str, tmp_path: Path) -> None:
    assert load(tmp_path, row, ["sft"], **use).train.kind == kind


@pytest.mark.parametrize(
    ("row", "use", "methods", "says"),
    [
        (UNPAIRED, {"kind": "unpaired_preferences"}, ["sft", "dpo"],
         "methods.dpo: method dpo needs preferences, and files provides unpaired preferences"),
        (REFERENCES, {"kind": "references"}, ["sft"],
         "train: files provides prompts with references alone, and every method starts from supervised training"),
        (REFERENCES, {"kind": "references"}, ["sft"], "or train_on_reference: 1, which makes the first reference of"),
        ({"prompt": "x"}, {"columns": {"completion": None}}, ["sft"],
         "train: files provides prompts alone, and every method"),
        (UNPAIRED, {}, ["sft"], "rows.jsonl:1: these rows have a completion and a true or false `label`"),
        (UNPAIRED, {"kind": "unpaired_preferences", "pair_with": "other-rows"}, ["sft"],
         "train.pair_with: preferences are made of demonstrations, and files provides unpaired preferences"),
        (UNPAIRED, {"kind": "unpaired_preferences", "train_on_reference": 1}, ["sft"],
         "train.train_on_reference: files provides unpaired preferences, which need no reference"),
        ({"chosen": 3, "rejected": "z"}, {"train_on_reference": 1}, ["sft"], "which need no reference to be"),
        ({"prompt": "x"}, {"kind": "prompts", "train_on_reference": 1}, ["sft"], "which have no references"),
        (REFERENCES, {"kind": "references", "train_on_reference": 0}, ["sft"], "train.train_on_reference: "),
        (UNPAIRED, {"kind": "pairs"}, ["sft"], "train.kind: "),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_message_at_its_place(
    row: dict[str, Any], use: dict[str, Any], methods: list[Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, row, methods, **use)
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'bench.yaml'}:")
    assert str(caught.value).count("bench.yaml:") == 1
