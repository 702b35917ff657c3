"""The results of a small run of which everything follows from what it was made from, as from a run of the harness."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from report.synthetic import Place, Run, step, summary
from stages import configs

from harness.spec.decoding import Decoding
from harness.spec.recipe import StepSettings
from harness.spec.results.generate import Answer, GenerateSummary
from harness.spec.results.provenance import DataProvenance
from harness.spec.results.rows import DataRow
from harness.spec.results.score import AnswerValues, ColumnSummary, ScoreMeans, ScoreSummary
from harness.spec.results.train import TrainStep, TrainSummary
from harness.spec.stages.score import ScoreConfig
from harness.store.combined import combined
from harness.store.identity import digest, rows_digest
from harness.store.stages import Store

if TYPE_CHECKING:
    from collections.abc import Mapping


def tale(index: int) -> dict[str, Any]:
    """Return a prompt, of one of two categories."""
    return {
        "fields": {"instruction": f"Tell tale {index}"},
        "completion": f"Once {index}",
        "columns": {"category": "long" if index % 3 else "short"},
    }


@dataclass
class WholeRun(Run):
    """A run whose ids, means and counts can be derived; its methods go on from the supervised start."""

    weights: float = 1.0
    """What is told apart of the model that training starts from."""
    batch_size: int = 16
    trained_rows: str = "2" * 64
    """The digest of the rows that it is trained on."""
    answer_tokens: int = 3
    content: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Give every example a prompt."""
        self.prompts = self.prompts or tale

    def _rows(self, dataset: str) -> str:
        assert self.prompts is not None
        lines = [DataRow.model_validate({"id": str(i), **self.prompts(i)}) for i in range(self.examples)]
        content = rows_digest(line.to_json() for line in lines)
        self.content[dataset] = content
        stage, store = digest(["rows", dataset, content]), Store(self.root)
        if store.find("prepare", stage) is None:
            with store.draft("prepare", stage) as draft:
                draft.write_lines(DataRow, lines)
                draft.write(DataProvenance(content=content, rows=len(lines), origin="file"))
                store.commit(draft, config=configs.rows_config().to_json(), environment=self.made, label=dataset)
        return stage

    @property
    def made(self) -> Mapping[str, Any]:
        return self.environment("", 0)

    def _manifest(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        manifest = super()._manifest(rows)
        for data in manifest["datasets"]:
            if data["role"] == "train":
                data["sha256"] = self.trained_rows
            if data["role"] != "train":
                data["sha256"] = self.content[data["label"]]
                data["rows"] = self.examples
        template = configs.TEMPLATE.model_dump(mode="json")
        manifest["config"]["template"] = template
        manifest["template_sha256"] = digest(template)
        return manifest

    def _seed(self, row: str, model: str, seed: int) -> dict[str, Any]:
        for dataset in self.datasets:
            if dataset not in self.content:
                self._rows(dataset)
        told = super()._seed(row, model, seed)
        if row not in {"base", "sft"}:
            told["train"] = [self._train("sft", model, seed), *told["train"]]
        return told

    def _train(self, row: str, model: str, seed: int) -> str:
        recipe = StepSettings(batch_size=self.batch_size)
        config = configs.train_config(row.partition("[")[0], seed=seed, recipe=recipe).to_json()
        start = f"model {model}" if row == "sft" else self._train("sft", model, seed)
        stage, store = combined(digest(config), {"rows": self.trained_rows, "start": start}), Store(self.root)
        if store.find("train", stage) is None:
            with store.draft("train", stage) as draft:
                log = self.log(row, seed) if self.log else [step(row)]
                draft.write_lines(TrainStep, (TrainStep.model_validate({**step("sft"), **each}) for each in log))
                own = {"weights_sha256": digest([row, model, seed]), "start_sums": [self.weights] * 2}
                own["weights_sums"] = [float(seed), float(sum(map(ord, row)))]
                draft.write(TrainSummary.model_validate({**summary(row), **own, **self.trained(row, seed)}))
                label = f"{model}/{row}/seed {seed}"
                store.commit(draft, config=config, environment=self.environment(row, seed), label=label)
        return stage

    def _cell(self, row: str, model: str, seed: int, dataset: str, decoding: str) -> dict[str, Any]:
        settings = Decoding(**self.decodings[decoding])
        asked = {"decoding": settings, "seed": seed, "code": "1", **self.settings(row, seed)}
        config = configs.generate_config(**asked).to_json()
        checkpoint = f"model {model}" if row == "base" else self._train(row, model, seed)
        parents = {"checkpoint": checkpoint, "rows": self.content[dataset]}
        stage, store = combined(digest(config), parents), Store(self.root)
        samples = [
            Answer(
                id=str(index), draw=draw, text=f"{self.answer(row, seed, index)} {seed} {draw}",
                tokens=self.answer_tokens, finished=True, cut=False, entropy=1.5,
            )
            for index in range(self.examples) for draw in range(settings.draws)
        ]  # fmt: skip
        told = {
            "n": self.examples, "draws": settings.draws, "prompts_cut": 0, "prompts_dropped": 0, "truncated": 0,
            "empty": 0, "tokens": self.answer_tokens * len(samples), "seconds": 2.0, "tokens_per_second": 30.0,
            "entropy": 1.5, "peak_memory_bytes": 10**8, "concurrent": False,
        }  # fmt: skip
        if store.find("generate", stage) is None:
            with store.draft("generate", stage) as draft:
                draft.write_lines(Answer, samples)
                draft.write(GenerateSummary.model_validate({**told, **self.summary}))
                label = f"{model}/{row}/{dataset}"
                store.commit(draft, config=config, environment=self.environment(row, seed), label=label)
        scores = {m["use"]: self._scored(row, model, seed, dataset, decoding, m, stage) for m in self.metrics}
        return {"generate": stage, "scores": scores}

    def _scored(
        self, row: str, model: str, seed: int, dataset: str, decoding: str, metric: Mapping[str, Any], samples: str
    ) -> str:
        asked = {"metric": configs.plugin(metric["use"], **metric["options"]), **self.scored(row, seed)}
        config = ScoreConfig.model_validate({"code": "1", **asked}).to_json()
        stage = combined(digest(config), {"samples": samples, "rows": self.content[dataset]})
        store, draws, names = (
            Store(self.root),
            self.decodings[decoding]["draws"],
            [c["name"] for c in metric["columns"]],
        )
        if store.find("score", stage) is not None:
            return stage
        lines, means, columns = [], {}, {}
        for name in names:
            drawn = []
            for index in range(self.examples):
                value = self.value(Place(row, model, seed, dataset, decoding, name, index))
                spread = [0.01 * (draw - (draws - 1) / 2) for draw in range(draws)]
                drawn.append([] if value is None else [value + off for off in spread])
            means[name] = [math.fsum(values) / len(values) if values else None for values in drawn]
            every = [value for values in drawn for value in values]
            mean = math.fsum(every) / len(every) if every else None
            columns[name] = ColumnSummary(present=len(every), missing=draws * self.examples - len(every), mean=mean)
            lines.append(drawn)
        values = [
            AnswerValues(
                id=str(index), draw=draw,
                values={name: drawn[index][draw] for name, drawn in zip(names, lines, strict=True) if drawn[index]},
            )
            for index in range(self.examples) for draw in range(draws)
        ]  # fmt: skip
        with store.draft("score", stage) as draft:
            draft.write_lines(AnswerValues, values)
            draft.write(ScoreMeans(ids=[str(index) for index in range(self.examples)], columns=means))
            draft.write(
                ScoreSummary(metric=metric["use"], signature=self.signature(row, seed), corpus={}, columns=columns)
            )
            label = f"{model}/{row}/{dataset}/{metric['use']}"
            store.commit(draft, config=config, environment=self.made, label=label)
        return stage
