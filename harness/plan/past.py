"""What stages of earlier runs took, against what is reckoned of them: what is measured goes before a guess."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

from harness.errors import HarnessError
from harness.plan.reckoning import candidates_of, generate_seconds, reference_seconds, train_seconds
from harness.plan.shapes import Shapes, size_of
from harness.spec.results.environment import MadeUnder
from harness.spec.results.generate import GenerateSummary
from harness.spec.results.reference import ReferenceSummary
from harness.spec.results.train import TrainSummary
from harness.spec.stages.generate import GenerateConfig
from harness.spec.stages.reference import ReferenceConfig
from harness.spec.stages.score import Scoring
from harness.spec.stages.train import TrainConfig
from harness.store.records import CONFIG

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.models.shape import Shape
    from harness.plan.graph import Plan, Stage
    from harness.plan.rates import Rates
    from harness.store.records import Record
    from harness.store.stages import Store

#: So many stages of a kind are looked at, the newest first, and so many of one sort are enough.
_LOOKED_AT: Final = 400
_ENOUGH: Final = 32
#: How far the parameters of a model may be from those of another that is the same.
_SAME: Final = 0.05


class _Sort(NamedTuple):
    """Stages that go at one pace."""

    model: str
    """Its label, which begins the label of each of its stages."""
    kind: str
    samples: bool = False
    method: str = ""
    adapter: bool = False


class Past:
    """How much longer stages took than is reckoned, by model, kind and method; from one folder of results."""

    def __init__(self, store: Store, plan: Plan, rates: Rates, *, threads: int, device: str) -> None:
        """Read the stages of the plan's models that ran on such a device.

        Args:
            store: has them.
            plan: whose models are looked for.
            rates: of the machine, for as many threads as a stage of the plan has.
            threads: how many these are; what other runs took is converted as if the work were shared evenly.
            device: ``cpu`` or ``cuda``, with or without a number.
        """
        self._store, self._rates, self._threads, self._device = store, rates, threads, device.partition(":")[0]
        shapes = Shapes()
        self._shapes: dict[str, Shape | None] = {}
        for stage in plan.stages.values():
            name = stage.label.partition("/")[0]
            if stage.kind != "prepare" and "/" in stage.label and name not in self._shapes:
                self._shapes[name] = shapes.of(stage)
        self._paces: dict[_Sort, float] = {}
        self.counted: dict[str, int] = defaultdict(int)
        """How many stages of each model were read."""
        if store.base.is_dir():
            for kind in ("train", "generate", "precompute"):
                self._take(kind)

    def pace(self, stage: Stage) -> float:
        """Return how much longer a stage takes than is reckoned; 1 where no like stage was found."""
        model, config = stage.label.partition("/")[0], stage.config
        own = {sort: pace for sort, pace in self._paces.items() if sort.model == model}
        if not own:
            return 1.0
        if isinstance(config, TrainConfig):
            sort = _sort(model, config)
            like = [pace for other, pace in own.items() if other[:3] == sort[:3]]
            alike = [own[sort]] if sort in own else like
        elif isinstance(config, Scoring):  # it reads answers as reference log-probs and supervised training read theirs
            alike = [p for s, p in own.items() if s.kind == "precompute" or (s.kind == "train" and not s.samples)]
        else:
            alike = [p for s, p in own.items() if s.kind == stage.kind]
        return statistics.geometric_mean(alike or list(own.values()))

    def _take(self, kind: str) -> None:
        took: dict[_Sort, list[tuple[float, float]]] = defaultdict(list)
        for record in self._newest(kind):
            model = record.label.partition("/")[0]
            if model not in self._shapes:
                continue
            try:
                sort, seconds, reckoned = self._told(record, model)
            except (HarnessError, ValueError, KeyError):  # of another release, or damaged: others tell as much
                continue
            if seconds > 0 and reckoned > 0 and len(took[sort]) < _ENOUGH:
                took[sort].append((seconds, reckoned))
        for sort, both in took.items():
            self.counted[sort.model] += len(both)
            self._paces[sort] = sum(seconds for seconds, _ in both) / sum(reckoned for _, reckoned in both)

    def _newest(self, kind: str) -> Iterator[Record]:
        """Give the latest stages of a kind."""
        folder = self._store.base / kind
        if not folder.is_dir():
            return
        found = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in found[:_LOOKED_AT]:
            try:
                record = self._store.find(kind, path.name)
            except HarnessError:
                continue
            if record is not None:
                yield record

    def _told(self, record: Record, model: str) -> tuple[_Sort, float, float]:
        """Return what sort a stage is of, the seconds of its work, and what is reckoned of it.

        Raises:
            ValueError: it ran elsewhere, or another model of that name.
        """
        made, kind = record.read(MadeUnder), record.json(CONFIG)["kind"]
        if made.device is None or made.threads is None or made.device.partition(":")[0] != self._device:
            raise ValueError(made.device)
        share = made.threads * (made.ranks or 1) / self._threads
        shape = self._shapes[model]
        if kind == "train":
            config, summary = record.read(TrainConfig), record.read(TrainSummary)
            size = size_of(shape, config)
            policy = next(held for held in summary.models_held if held.role == "policy")
            held = policy.parameters - (policy.trained or 0)
            if shape is not None and abs(held - shape.parameters) > _SAME * shape.parameters:
                raise ValueError(held)
            rows = summary.rows.used + summary.rows.dropped_overlong
            pairs = summary.reference_logprobs is not None
            reckoned = train_seconds(config, rows, size, pairs=pairs, rates=self._rates)
            return _sort(model, config), share * sum(summary.seconds.values()), reckoned
        if kind == "generate":
            asked, answered = record.read(GenerateConfig), record.read(GenerateSummary)
            reckoned = generate_seconds(asked, answered.n, size_of(shape, asked), self._rates)
            return _Sort(model, "generate"), share * answered.seconds, reckoned
        wanted, computed = record.read(ReferenceConfig), record.read(ReferenceSummary)
        rows = computed.pairs + computed.rows.dropped_overlong
        reckoned = reference_seconds(wanted, rows, size_of(shape, wanted), self._rates)
        return _Sort(model, "precompute"), share * computed.seconds, reckoned


def _sort(model: str, config: TrainConfig) -> _Sort:
    adapter = config.recipe.adapter is not None
    return _Sort(model, "train", candidates_of(config) > 0, config.method.name, adapter)
