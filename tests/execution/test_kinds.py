"""Benchmarks on other data than demonstrations, through the command line: what is learnt, and what is refused."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from execution.bench import Bench, tiny

from harness.testing.distributions import write_distribution

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(1800)  # on a machine that does ten other things

TEST = [{"prompt": f"t {n}?", "completion": f"it is {n}"} for n in range(3)]

#: A method of unpaired preferences that learns nothing and logs what it was given.
JUDGED = """
from harness.api import MethodRegistration, NoOptions, hookimpl


@hookimpl
def harness_register_methods():
    return [MethodRegistration(
        name="judged", summary="Logs labels", options=NoOptions, build="judged:Judged",
        needs=frozenset({"labels"}), mixes_supervision=False)]


class Judged:
    def __init__(self, options):
        pass

    def setup(self, run):
        pass

    def step(self, run, batch):
        def loss(batch):
            return {"judged": run.logprobs(batch, batch.completions).sum().sum() * 0.0}

        run.update(loss, batch=batch)
        good = batch.labels
        return {
            "rows": len(batch), "good": float(good.sum()), "judged_tokens": float(batch.completions.lengths.sum()),
            "bad_demonstrations": float(batch.demonstrations.lengths[:, 0][~good].sum()),
        }

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass
"""


def bench(folder: Path, rows: list[dict[str, Any]], *, methods: list[Any], **use: Any) -> Bench:
    data = folder / "data"
    data.mkdir(parents=True)
    for split, listed in (("train", rows), ("test", TEST)):
        (data / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in listed), encoding="utf-8")
    content = tiny(
        template={"text": "{prompt}\nAnswer:"},
        train={"dataset": "files", "path": str(data), **use},
        evaluate=[{"dataset": "files", "path": str(data), "label": "test"}],
        reward=None,
        methods=methods,
    )
    return Bench(folder, content)


def notes(run: Bench) -> list[str]:
    found: list[str] = json.loads(run.board("json").read_text(encoding="utf-8"))["notes"]
    return found


def test_unpaired_preferences_teach_the_start_the_desirable_ones_alone(tmp_path: Path) -> None:
    write_distribution(tmp_path / "own", "judged", entry_points={"judged": "judged"}, modules={"judged.py": JUDGED})
    rows = [
        {"prompt": f"q {n}?", "completion": "yes it is" if n % 3 else "BAD BAD BAD", "label": bool(n % 3)}
        for n in range(12)
    ]
    run = bench(tmp_path / "run", rows, methods=["sft", "judged"], kind="unpaired_preferences")
    known = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(tmp_path / "own"), *([known] if known else [])])
    run.run(PYTHONPATH=path)
    assert (
        "sft was trained on the desirable completions of 8 rows; it left out 4 rows with an undesirable completion."
        in (notes(run))
    )
    stages = run.stages("train")
    start = stages["new/sft/seed 0/epochs 0-1"]
    summary = start.json("summary.json")
    assert summary["trained_on"] == {"completion": 8, "chosen": 0, "undesirable": 4, "without": 0}
    assert summary["rows"]["used"] == 8
    one = {step["tokens"]["trained"] for step in start.jsonl("train.jsonl")}
    assert len(one) == 1  # every batch is full of the same answer
    (own,) = [record for label, record in stages.items() if "/judged/" in label and " as " not in label]
    log = [step["method"] for step in own.jsonl("train.jsonl")]
    assert sum(step["rows"] for step in log) == 12
    assert sum(step["good"] for step in log) == 8
    assert all(step["judged_tokens"] >= 2 * step["rows"] and step["bad_demonstrations"] == 0 for step in log)
    run.run("-o", "train.kind=demonstrations", code=2, PYTHONPATH=path)


def test_implicit_pairs_teach_the_chosen_answers_and_train_dpo(tmp_path: Path) -> None:
    rows = [{"chosen": f"What is {n}? It is {n}", "rejected": f"What is {n}? no idea"} for n in range(8)]
    run = bench(tmp_path, rows, methods=["sft", "dpo"])
    run.run()
    assert "sft was trained on the chosen answers of 8 pairs." in notes(run)
    (prepared,) = [r for label, r in run.stages("prepare").items() if label == "files/train"]
    assert prepared.json("provenance.json")["kind"] == "preferences"
    first = next(iter(prepared.jsonl("rows.jsonl")))
    assert (first["fields"]["prompt"], first["chosen"], first["rejected"]) == ("What is 0?", " It is 0", " no idea")
    assert all(step["grad_norm"] > 0 for step in run.stages("train")["new/sft/seed 0/epochs 0-1"].jsonl("train.jsonl"))


def test_references_alone_and_bad_rows_are_told_in_the_table(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"prompt": f"q {n}?", "references": ["one", "two"]} for n in range(8)]
    rows[2]["references"] = ["one"]
    rows[5]["prompt"] = None
    run = bench(tmp_path, rows, methods=["sft"], kind="references", train_on_reference=2, bad_rows="skip")
    run.run()
    said = notes(run)
    assert "sft was trained on reference 2 of 6 rows; it left out 1 row without a demonstration." in said
    (line,) = [note for note in said if note.startswith("training rows: ")]
    assert "train.jsonl: 1 of 8 rows left out as bad: train.jsonl:6 (the field 'prompt' is not a text)" in line
    assert "reference 2 is the demonstration of 6 rows" in line


@pytest.mark.parametrize(
    ("rows", "use", "says"),
    [
        ([{"prompt": "a", "completion": "b", "label": False}] * 4, {"columns": {"label": "label"}},
         "there is nothing to train on: no row has a demonstration, got '4 rows marked as undesirable'"),
        ([{"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": None}], {},
         "train.jsonl:2: the field 'completion' is not a text, got 'null'"),
        ([{"prompt": "a", "references": ["b"]}] * 4, {"kind": "references", "train_on_reference": 2},
         "no row without a completion has so many references, got 2; expected at most 1"),
    ],
)  # fmt: skip
def test_training_on_nothing_is_refused_before_any_training(
    rows: list[dict[str, Any]], use: dict[str, Any], says: str, tmp_path: Path
) -> None:
    run = bench(tmp_path, rows, methods=["sft"], **use)
    said = run.run(code=2)
    assert says in said
    assert said.count("error: ") == 1
    assert not run.stages("train")
