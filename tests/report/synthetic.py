"""The results of a small run, written through the store in the files that stages write, without any training."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages import configs

from harness.spec.decoding import Decoding
from harness.spec.results.generate import Answer, GenerateSummary
from harness.spec.results.reward_statistics import PairScores, RewardStatistics
from harness.spec.results.rows import DataRow
from harness.spec.results.score import AnswerValues, ColumnSummary, CutTexts, ScoreMeans, ScoreSummary
from harness.spec.results.train import PHASES, TrainStep, TrainSummary
from harness.spec.stages.score import ScoreConfig
from harness.store.files import dump, replace_text, seal
from harness.store.identity import digest
from harness.store.stages import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ENVIRONMENT = {"threads": 1, "device": "cpu", "ranks": 1, "python": "3.11", "libraries": {"torch": "2.13.0"}}
ROUGE_L = {
    "name": "rougeL", "label": "ROUGE-L", "higher_is_better": True, "unit": "", "scale": 100.0, "digits": 2,
    "shown": True,
}  # fmt: skip
METRICS: list[dict[str, Any]] = [
    {"use": "rouge", "options": {}, "role": "score", "headline": "rougeL", "columns": [ROUGE_L], "corpus": []}
]
JUDGE: dict[str, Any] = {
    "use": "referee", "options": {"against": ["chosen"], "template": "which is better?\n{first}"}, "role": "judge",
    "headline": "win:chosen", "needs": [], "corpus": [],
    "columns": [
        {**ROUGE_L, "name": f"{kind}:chosen", "label": kind, "unit": "%", "shown": kind == "win", "digits": 1}
        for kind in ("win", "consistent", "first", "null", "margin_length")
    ],
}  # fmt: skip
T1 = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "max_new_tokens": 24, "draws": 2}
GREEDY = {**T1, "temperature": 0.0, "draws": 1}


@contextmanager
def in_memory() -> Iterator[Path]:
    """Give a new folder, in memory where there is a place for it: a store syncs every file."""
    memory = Path("/dev/shm")  # noqa: S108  # a folder of one's own in it
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@dataclass(frozen=True)
class Place:
    """Which number is asked for."""

    row: str
    model: str
    seed: int
    dataset: str
    decoding: str
    column: str
    example: int


def plain_value(place: Place) -> float | None:
    """Return a value that differs a little between prompts and seeds, and much between rows."""
    level = {"base": 0.01, "sft": 0.30, "eso": 0.33}.get(place.row, 0.2)
    own = sum(map(ord, place.row))
    jitter = (place.seed * 7 + place.example * 3 + own * (place.example + place.seed)) % 5
    return level + 0.02 * (place.example % 3) + 0.001 * jitter


@dataclass
class Run:
    """What to write; every field may be changed before :meth:`write`."""

    root: Path
    seeds: tuple[int, ...] = (0, 1, 2)
    rows: tuple[str, ...] = ("base", "sft", "eso")
    models: tuple[str, ...] = ("tiny",)
    datasets: Mapping[str, str] = field(default_factory=lambda: {"in-data": "in-data"})
    """Label to role."""
    decodings: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"t1": T1})
    metrics: list[dict[str, Any]] = field(default_factory=lambda: METRICS)
    tables: tuple[str, ...] = ("scores",)
    examples: int = 12
    value: Callable[[Place], float | None] = plain_value
    own: Callable[[Place, int], float] | None = None
    """The value of each draw, where scores of single answers are wanted."""
    corpus: Callable[[Place], float | None] = lambda _: 0.5
    unfinished: set[tuple[str, ...]] = field(default_factory=set)
    """Stages without a result: (row, "train", seed), (row, "generate", seed) or (row, metric, seed)."""
    summary: Mapping[str, Any] = field(default_factory=dict)
    """What differs in the summary of every ``generate`` stage."""
    answered: Callable[[str, int], Mapping[str, Any]] = lambda _row, _seed: {}
    """What else differs in the summary of a row's ``generate`` stages."""
    settings: Callable[[str, int], Mapping[str, Any]] = lambda _row, _seed: {}
    """What differs in the configuration of a row's ``generate`` stages."""
    ids: Callable[[str, int], list[str]] | None = None
    scored: Callable[[str, int], Mapping[str, Any]] = lambda _row, _seed: {}
    """What differs in the configuration of a row's ``score`` stages."""
    signature: Callable[[str, int], str] = lambda _row, _seed: "rouge|v1"
    cut: Callable[[str, int], Mapping[str, int]] = lambda _row, _seed: {}
    """What a row's ``score`` stages say of texts that were cut."""
    log: Callable[[str, int], list[dict[str, Any]]] | None = None
    trained: Callable[[str, int], Mapping[str, Any]] = lambda _row, _seed: {}
    """What differs in the summary of a row's ``train`` stage."""
    environment: Callable[[str, int], Mapping[str, Any]] = lambda _row, _seed: ENVIRONMENT
    options: Callable[[str], Mapping[str, Any]] = lambda _row: {}
    described: Callable[[str], Mapping[str, Any]] = lambda _row: {}
    """What differs in the manifest's description of a row."""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    """What differs in the manifest."""
    reward_models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Model to ``pairs`` (a list, may be absent) and ``summary`` of its reward model's statistics."""
    prompts: Callable[[int], Mapping[str, Any]] | None = None
    """The row of each example, where the data are stored."""
    answer: Callable[[str, int, int], str] = lambda _row, _seed, _index: "a sample text"
    """The answer of a row, a seed and an example."""
    change: Callable[[dict[str, Any]], None] = lambda _: None
    """What else is done to the manifest."""
    kept: bool = False
    """Whether a stage that is in the store already is left there as it is."""

    def write(self) -> Path:
        """Write everything; return the folder of the tables."""
        folder = self.root / "small" / "quick"
        rows = [self._row(row, model) for model in self.models for row in self.rows]
        manifest = {**self._manifest(rows), **self.manifest}
        if self.reward_models:
            manifest["reward_models"] = {name: self._reward_model(name) for name in self.reward_models}
        self.change(manifest)
        replace_text(folder / "manifest.json", dump(seal(manifest)))
        return folder

    def _reward_model(self, model: str) -> dict[str, Any]:
        stage, found = digest(["statistics", model]), self.reward_models[model]
        store = Store(self.root)
        with store.draft("precompute", stage) as draft:
            pairs = [
                {"id": str(number), "chosen_tokens": 1, "rejected_tokens": 1, **pair}
                for number, pair in enumerate(found.get("pairs", ()))
            ]
            draft.write_lines(PairScores, map(PairScores.model_validate, pairs))
            told = {"normalise": "none", "mean": 0.0, "sd": 1.0, "n": 256, "model": "bradley-terry"}
            told |= {"parameters": 10, "bytes": 40, **found.get("summary", {})}
            draft.write(RewardStatistics.model_validate(told))
            config = configs.statistics_config().to_json()
            store.commit(draft, config=config, environment=ENVIRONMENT, label=f"{model}/reward model")
        return {"train": None, "statistics": stage}

    def _rows(self, dataset: str) -> str | None:
        if self.prompts is None:
            return None
        stage = digest(["rows", dataset])
        rows = [{"id": str(index), **self.prompts(index)} for index in range(self.examples)]
        store = Store(self.root)
        with store.draft("prepare", stage) as draft:
            draft.write_lines(DataRow, map(DataRow.model_validate, rows))
            store.commit(draft, config=configs.rows_config().to_json(), environment=ENVIRONMENT, label=dataset)
        return stage

    def _row(self, row: str, model: str) -> dict[str, Any]:
        kind = {"base": "base", "sft": "start"}.get(row, "method")
        return {
            "label": row,
            "method": None if kind == "base" else row.partition("[")[0],
            "kind": kind,
            "model": model,
            "preset": None,
            "options": self.options(row),
            "options_set": {"coef": 0.2} if kind == "method" else {},
            "active": "last",
            "start": "branch",
            "trials": 1,
            **self.described(row),
            "shared_terms": ["sft"],
            "seeds": {str(seed): self._seed(row, model, seed) for seed in self.seeds},
        }

    def _seed(self, row: str, model: str, seed: int) -> dict[str, Any]:
        failed = (row, "train", str(seed)) in self.unfinished
        return {
            "train": [] if row == "base" else [None if failed else self._train(row, model, seed)],
            "evaluations": {
                dataset: {name: self._cell(row, model, seed, dataset, name) for name in self.decodings}
                for dataset in self.datasets
            },
            "failed": "the loss was not finite" if failed else None,
        }

    def _train(self, row: str, model: str, seed: int) -> str:
        stage = digest(["train", row, model, seed])
        if self._has("train", stage):
            return stage
        log = self.log(row, seed) if self.log else [step(row)]
        store = Store(self.root)
        with store.draft("train", stage) as draft:
            draft.write_lines(TrainStep, (TrainStep.model_validate({**step("sft"), **each}) for each in log))
            own = {"weights_sha256": digest(["weights", row, model, seed])}
            draft.write(TrainSummary.model_validate({**summary(row), **own, **self.trained(row, seed)}))
            config = configs.train_config(row.partition("[")[0], seed=seed)
            store.commit(
                draft, config=config.to_json(), environment=self.environment(row, seed), label=f"{model}/{row}"
            )
        return stage

    def _cell(self, row: str, model: str, seed: int, dataset: str, decoding: str) -> dict[str, Any]:
        known = self.unfinished
        if (row, "generate", str(seed)) in known or (row, "train", str(seed)) in known:
            return {"generate": None, "scores": {metric["use"]: None for metric in self.metrics}}
        stage = digest(["generate", row, model, seed, dataset, decoding])
        if not self._has("generate", stage):
            self._generate(stage, row, model, seed, dataset, decoding)
        return {
            "generate": stage,
            "scores": {
                metric["use"]: None
                if (row, metric["use"], str(seed)) in known
                else self._score(row, model, seed, dataset, decoding, metric)
                for metric in self.metrics
            },
        }

    def _has(self, kind: str, stage: str) -> bool:
        return self.kept and Store(self.root).folder(kind, stage).exists()

    def _generate(self, stage: str, row: str, model: str, seed: int, dataset: str, decoding: str) -> None:
        draws = self.decodings[decoding]["draws"]
        counted = {
            "n": self.examples, "draws": draws, "prompts_cut": 0, "prompts_dropped": 0, "truncated": 1, "empty": 0,
            "tokens": 60, "seconds": 2.0, "tokens_per_second": 30.0, "entropy": 1.5, "peak_memory_bytes": 10**8,
            "concurrent": False,
        }  # fmt: skip
        config = configs.generate_config(
            **{"decoding": Decoding(**self.decodings[decoding]), "seed": seed, "code": "1", **self.settings(row, seed)}
        )
        store = Store(self.root)
        with store.draft("generate", stage) as draft:
            samples = [
                Answer(
                    id=str(index),
                    draw=draw,
                    text=self.answer(row, seed, index),
                    tokens=3,
                    finished=True,
                    cut=False,
                    entropy=1.5,
                )
                for index in range(self.examples if self.prompts else 1)
                for draw in range(draws if self.prompts else 1)
            ]
            draft.write_lines(Answer, samples)
            draft.write(GenerateSummary.model_validate({**counted, **self.summary, **self.answered(row, seed)}))
            store.commit(
                draft,
                config=config.to_json(),
                environment=self.environment(row, seed),
                label=f"{model}/{row}/{dataset}",
            )

    def _score(self, row: str, model: str, seed: int, dataset: str, decoding: str, metric: Mapping[str, Any]) -> str:
        stage = digest(["score", row, model, seed, dataset, decoding, metric["use"]])
        if self._has("score", stage):
            return stage
        columns, counts, corpus = {}, {}, {}
        draws = self.decodings[decoding]["draws"]
        for column in metric["columns"]:
            places = [
                Place(row, model, seed, dataset, decoding, column["name"], index) for index in range(self.examples)
            ]
            values = [self.value(place) for place in places]
            columns[column["name"]] = values
            absent = draws * sum(value is None for value in values)
            counts[column["name"]] = {"present": draws * len(values) - absent, "missing": absent}
        for column in metric["corpus"]:
            number = self.corpus(Place(row, model, seed, dataset, decoding, column["name"], 0))
            if number is not None:
                corpus[column["name"]] = number
        ids = self.ids(row, seed) if self.ids else [str(index) for index in range(self.examples)]
        store = Store(self.root)
        with store.draft("score", stage) as draft:
            draft.write_lines(AnswerValues, self._own(row, model, seed, dataset, decoding, metric))
            draft.write(ScoreMeans(ids=ids, columns=columns))
            draft.write(
                ScoreSummary(
                    metric=metric["use"],
                    signature=self.signature(row, seed),
                    corpus=corpus,
                    columns={name: ColumnSummary(**count) for name, count in counts.items()},
                    cut=CutTexts(**self.cut(row, seed)),
                )
            )
            asked = {"metric": configs.plugin(metric["use"], **metric["options"]), **self.scored(row, seed)}
            config = ScoreConfig.model_validate({"code": "1", **asked}).to_json()
            store.commit(
                draft, config=config, environment=ENVIRONMENT, label=f"{model}/{row}/{dataset}/{metric['use']}"
            )
        return stage

    def _own(
        self, row: str, model: str, seed: int, dataset: str, decoding: str, metric: Mapping[str, Any]
    ) -> Iterator[AnswerValues]:
        if self.own is None:
            return
        for index in range(self.examples):
            places = [Place(row, model, seed, dataset, decoding, column["name"], index) for column in metric["columns"]]
            for draw in range(self.decodings[decoding]["draws"]):
                values = {place.column: self.own(place, draw) for place in places}
                yield AnswerValues(id=str(index), draw=draw, values=values)

    def _manifest(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        train = {"label": "tales", "role": "train", **_data("train")}
        evaluations = [
            {"label": label, "role": role, **_data("test"), "stage": self._rows(label)}
            for label, role in self.datasets.items()
        ]
        uses: list[dict[str, Any]] = [
            {"label": label, "dataset": "tales", "split": "test", "options": {}, "path": None}
            for label in self.datasets
        ]
        models = [{"name": name, "label": name, "path": None, "revision": None, "config": None} for name in self.models]
        return {
            "format": 1,
            "benchmark": "small",
            "title": "Small",
            "profile": "quick",
            "harness": "0.1.0",
            "config": {
                "benchmark": "small",
                "profile": "quick",
                "template": {"text": "{prompt}"},
                "recipe": {},
                "decoding": dict(self.decodings),
                "metrics": [{"use": metric["use"], "options": metric["options"]} for metric in self.metrics],
                "seeds": list(self.seeds),
                "models": models,
                "methods": [
                    {"label": row, "use": row.partition("[")[0], "recipe": {}}
                    for row in [row for row in self.rows if row != "base"] or ["sft"]
                ],
                "train": {"dataset": "tales", "split": "train", "options": {}, "path": None},
                "evaluate": uses,
                "sources": {},
            },
            "rows": rows,
            "datasets": [train, *evaluations],
            "decodings": dict(self.decodings),
            "metrics": self.metrics,
            "scorer": "start",
            "failures": [],
            "tables": list(self.tables),
            "published": None,
            "template_sha256": "0" * 64,
        }


def _data(split: str) -> dict[str, Any]:
    provenance: dict[str, Any] = {"origin": "file", "revision": None, "sha256": "1" * 64, "notes": []}
    return {
        "dataset": "tales", "split": split, "generated": False, "licence": "CC0-1.0", "fingerprint": "f",
        "rows": 40, "sha256": "2" * 64, "provenance": provenance,
    }  # fmt: skip


def step(row: str) -> dict[str, Any]:
    """Return one line of a training log."""
    own = {} if row == "sft" else {row.partition("[")[0]: 0.5}
    found: dict[str, Any] = {
        "step": 0,
        "epoch": 0,
        "learning_rate": 1e-4,
        "grad_norm": 2.0,
        "tokens": {"generated": 40, "trained": 60},
        "micro_batches": 1,
        "seconds": dict.fromkeys(PHASES, 0.05),
        "loss": {"sft": 1.0, **own},
        "grad_norms": {"sft": 2.0, **own},
        "moved": {"sft": True},
        "kl": 0.25,
    }
    if own:
        found["reward"] = {"mean": 0.3, "sd": 0.1, "by_candidate": [0.4, 0.2], "missing": 0}
        found["groups"] = {"count": 4, "without_spread": 1}
        found["samples"] = {"count": 8, "empty": 1, "truncated": 2, "mean_length": 7.5, "entropy": 1.25}
    return found


def summary(row: str) -> dict[str, Any]:
    """Return the summary of a training stage."""
    lap = {"median": 0.25, "q1": 0.2, "q3": 0.3}
    return {
        "steps": 10,
        "first_step": 0,
        "last_step": 10,
        "seconds": dict.fromkeys(PHASES, 0.5),
        "step_seconds": {**{phase: {"median": 0.05, "q1": 0.04, "q3": 0.06} for phase in PHASES}, "total": lap},
        "weights_sha256": "3" * 64,
        "micro_batches": {"tokens": 1000, "halvings": 0, "total": 10},
        "tokens_generated": 400,
        "tokens_trained": 600,
        "reward_calls": 80,
        "peak_memory_bytes": 500_000_000,
        "device": "cpu",
        "threads": 1,
        "ranks": 1,
        "models_held": [{"role": "policy", "parameters": 1_500_000, "bytes": 6_000_000}],
        "active": {"sft": True} if row == "sft" else {"sft": True, row.partition("[")[0]: True},
        "rows": {"used": 40, "dropped_overlong": 0},
        "concurrent": False,
    }
