"""Rows whose model was trained elsewhere, and benchmarks that train nothing, through the command line."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from harness.report.results import load_results

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from execution.bench import Bench

pytestmark = pytest.mark.timeout(1800)  # on a machine that does ten other things

MARK = ["trained elsewhere, budget unknown"]


@pytest.fixture
def foreign(finished: Bench, tmp_path: Path) -> tuple[Path, Path]:
    """A checkpoint and a file of answers, as if another program had left them: those of the row eso."""
    (trained,) = [record for label, record in finished.stages("train").items() if "/eso/" in label]
    folder = tmp_path / "foreign" / "someones-model"
    shutil.copytree(trained.path("checkpoint"), folder)
    (answered,) = [record for label, record in finished.stages("generate").items() if "/eso/" in label]
    by_id: dict[str, list[str]] = {}
    for answer in answered.jsonl("samples.jsonl"):
        by_id.setdefault(answer["id"], []).append(answer["text"])
    lines = [{"id": name, "answers": texts, "model": "theirs"} for name, texts in reversed(by_id.items())]
    answers = tmp_path / "foreign" / "answers.jsonl"
    answers.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder, answers


def rows(bench: Bench, table: str) -> dict[str, dict[str, Any]]:
    return {row["label"]: row for row in bench.tables()[table]["rows"]}


def test_what_was_trained_elsewhere_is_scored_alike_and_compared_with_nothing(
    copied: Callable[..., Bench], foreign: tuple[Path, Path]
) -> None:
    folder, answers = foreign
    listed = ["sft", {"use": "eso", "temperatures": [0.5, 1.5], "coef": 1.0},
              {"use": "checkpoint", "path": str(folder)},
              {"use": "answers", "path": str(answers), "label": "theirs"}]  # fmt: skip
    bench = copied(methods=listed)
    bench.run()
    scores = rows(bench, "scores")
    assert set(scores) == {"base", "sft", "eso", "someones-model", "theirs"}
    (name,) = [name for name in scores["eso"]["cells"] if name.endswith("rouge.rougeL")]
    # the same weights under the same seed, and the same texts: the same numbers
    for label in ("someones-model", "theirs"):
        assert scores[label]["cells"][name]["value"] == scores["eso"]["cells"][name]["value"]
        assert scores[label]["marks"] == MARK
        difference = scores[label]["cells"].get(f"{name} Δ") or {}
        assert difference.get("value") is None
    assert scores["eso"]["cells"][f"{name} Δ"]["value"] is not None
    said = bench.board("md").read_text(encoding="utf-8")
    assert (
        "Trained elsewhere, with a budget that is not known: someones-model (someones-model), theirs (answers" in said
    )
    checks = json.loads(bench.board("json").read_text(encoding="utf-8"))["checks"]
    same = "eso, someones-model and theirs are the same here: equal answers to every prompt (seed 0)."
    assert checks == {"errors": [], "findings": [same]}
    assert set(rows(bench, "signal")) == {"sft", "eso"}
    results = load_results(bench.results, bench.board("json").parent)
    kinds = {row.label: (row.kind, row.trained) for row in results.rows}
    assert kinds["theirs"] == kinds["someones-model"] == ("elsewhere", False)
    assert len(bench.stages("train")) == 3  # nothing was trained for them


def test_a_benchmark_without_a_method_trains_nothing(copied: Callable[..., Bench], foreign: tuple[Path, Path]) -> None:
    folder, answers = foreign
    bench = copied(methods=[{"use": "checkpoint", "path": str(folder), "label": "mine"},
                            {"use": "answers", "path": str(answers)}], reward=None)  # fmt: skip
    shutil.rmtree(bench.results)
    bench.run()
    assert set(rows(bench, "scores")) == {"base", "mine", "answers"}
    assert not bench.stages("train")
    bench = copied_empty = type(bench)(bench.folder, {**bench.content, "methods": []})
    copied_empty.run()
    assert set(rows(bench, "scores")) == {"base"}
    (first, *_) = json.loads(bench.board("json").read_text(encoding="utf-8"))["notes"]
    assert first == "new (new, random weights); nothing was trained; seed 0."


def test_answers_that_do_not_fit_fail_alone_and_say_why(
    copied: Callable[..., Bench], foreign: tuple[Path, Path]
) -> None:
    _, answers = foreign
    kept = answers.read_text(encoding="utf-8").splitlines(keepends=True)
    answers.write_text("".join(kept[1:]), encoding="utf-8")
    bench = copied(methods=["sft", {"use": "answers", "path": str(answers), "label": "theirs"}])
    said = bench.run(code=1)
    assert f"{answers}: has no answer to 1 of 6 rows (" in said
    assert rows(bench, "scores")["sft"]["cells"]
