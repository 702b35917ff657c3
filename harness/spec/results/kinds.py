"""Which files of JSON each kind of stage leaves behind."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from harness.spec.results.adapter import AdapterRecord
from harness.spec.results.generate import Answer, GenerateSummary
from harness.spec.results.models import PreparedModel
from harness.spec.results.provenance import DataProvenance
from harness.spec.results.reference import ReferenceSummary
from harness.spec.results.reward_statistics import PairScores, RewardStatistics
from harness.spec.results.rows import DataRow
from harness.spec.results.score import AnswerValues, ScoreMeans, ScoreSummary
from harness.spec.results.train import TrainStep, TrainSummary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.spec.results.base import ResultFile, ResultLine

_SCORES = (AnswerValues, ScoreMeans, ScoreSummary)

#: A stage's kind (that of its configuration) to the classes of its files.
RESULTS: Final[Mapping[str, tuple[type[ResultFile | ResultLine], ...]]] = MappingProxyType(
    {
        "rows": (DataRow, DataProvenance),
        "tokenizer": (PreparedModel,),
        "new-model": (PreparedModel,),
        "model": (PreparedModel,),
        "classifier": (PreparedModel,),
        "reference-logprobs": (ReferenceSummary,),
        "reward-statistics": (RewardStatistics, PairScores),
        "train": (TrainStep, TrainSummary, AdapterRecord),
        "generate": (Answer, GenerateSummary),
        "answers": (Answer, GenerateSummary),
        "score": _SCORES,
        "score-by-model": _SCORES,
    }
)
