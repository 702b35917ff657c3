"""What the manifest of a run says of models that were not trained here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from plan.files import Planner, small, write_rows

from harness.execution.manifest import make_manifest
from harness.execution.outcome import Outcome
from harness.plan import build_plan
from harness.plugins.loader import load_registry
from harness.spec.results.models import PreparedModel
from harness.spec.stages.existing_model import ModelConfig

if TYPE_CHECKING:
    from pathlib import Path


def test_the_weights_of_a_checkpoint_from_elsewhere_have_their_notes(tmp_path: Path) -> None:
    own = Planner(tmp_path, load_registry())
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    (folder / "model.safetensors").write_text("1", encoding="utf-8")
    answers = tmp_path / "answers.jsonl"
    answers.write_text(json.dumps({"id": "0", "answers": ["One.", "Two."]}) + "\n", encoding="utf-8")
    methods = [{"use": "checkpoint", "path": str(folder)}, {"use": "answers", "path": str(answers)}]
    content = small(write_rows(tmp_path / "data"), seeds=[0], methods=methods)
    own.plan(own.load(content))
    benchmark = own.load(content)
    plan = build_plan(benchmark, own.registry, own.store)
    for stage in plan.stages.values():
        if stage.kind == "prepare" and not stage.done:
            notes = ("dequantised from Q4_1",) if isinstance(stage.config, ModelConfig) else ("our own",)
            with own.store.draft(stage.kind, stage.id or "") as draft:
                draft.write(PreparedModel(notes=notes))
                own.store.commit(draft, config=stage.config.to_json(), environment={}, label=stage.label)
    manifest = make_manifest(benchmark, own.registry, own.store, Outcome(plan))
    assert {row.label: row.notes for row in manifest.rows} == {
        "base": (), "theirs": ("dequantised from Q4_1",), "answers": (),
    }  # fmt: skip
    assert manifest.model_notes == {"new": ("our own",)}
