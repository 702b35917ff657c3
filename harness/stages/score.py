"""``score`` by a metric that reads texts alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import StageError
from harness.spec.results.score import CutTexts
from harness.stages.scoring import score_answers
from harness.stages.shared import SharedServices
from harness.store.environment import fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.api import Divergence, Sample
    from harness.plugins.registry import Registry
    from harness.spec.stages.score import ScoreConfig, Scoring
    from harness.stages.request import StageRequest, Tell
    from harness.stages.scoring import Read
    from harness.store.records import Record
    from harness.store.stages import Store


def run(request: StageRequest[ScoreConfig], store: Store, registry: Registry, tell: Tell) -> Record:
    """Score the answers by a metric that reads them alone."""
    return score_answers(request, store, registry, tell, NoModels)


class NoModels(SharedServices):
    """For metrics that registered no need of a model."""

    scorer_label = ""

    def __init__(
        self, request: StageRequest[Scoring], store: Store, tell: Tell, samples: Sequence[Sample], read: Read
    ) -> None:
        """Serve what needs no model."""
        super().__init__(request, store, tell, samples, read)
        self.environment = fingerprint(threads=request.runtime.threads, device="cpu", ranks=1)
        self.cut = CutTexts()

    def answer_nll(self, samples: Sequence[Sample]) -> Sequence[tuple[float, int]]:
        """Refuse."""
        raise self._refusal("scorer", len(samples))

    def reference_nll(self, samples: Sequence[Sample]) -> Sequence[tuple[float, int]]:
        """Refuse."""
        raise self._refusal("policy", len(samples))

    def prefix_nll(self, samples: Sequence[Sample]) -> Sequence[Sequence[tuple[float, float]]]:
        """Refuse."""
        raise self._refusal("policy", len(samples))

    def text_nll(self, texts: Sequence[str]) -> Sequence[tuple[float, int]]:
        """Refuse."""
        raise self._refusal("policy", len(texts))

    def divergences(self, samples: Sequence[Sample], label: str) -> Sequence[Divergence]:  # noqa: ARG002  # refused
        """Refuse."""
        raise self._refusal("policy", len(samples))

    def rewards(self, samples: Sequence[Sample], texts: Sequence[str]) -> Sequence[float]:  # noqa: ARG002  # refused
        """Refuse."""
        raise self._refusal("reward_model", len(samples))

    def _refusal(self, need: str, count: int) -> StageError:
        return StageError(
            f"the metric asked for a model for {count} answers",
            where=self._request.label,
            expected=f"needs={{{need!r}}} in its registration",
        )
