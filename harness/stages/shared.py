"""What every metric may ask for, whatever models it uses: the answers of other rows, a cache, and to be heard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import disk
from harness.errors import StageError
from harness.store.files import machine_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from harness.api import Sample
    from harness.spec.stages.score import Scoring
    from harness.stages.request import StageRequest, Tell
    from harness.store.stages import Store


class SharedServices:
    """The part of :class:`harness.api.MetricServices` that needs no model."""

    def __init__(
        self,
        request: StageRequest[Scoring],
        store: Store,
        tell: Tell,
        samples: Sequence[Sample],
        read: Callable[[str], list[Sample]],
    ) -> None:
        """Keep what is scored; ``read`` gives the answers of a parent of the stage, by the parent's name."""
        self._request = request
        self._store = store
        self._tell = tell
        self._samples = samples
        self._read = read

    @property
    def retry_before(self) -> float:
        """Return when the user asked for another try; 0 where nobody did."""
        return self._request.runtime.retry_before

    def answers_of(self, label: str) -> Sequence[Sample]:
        """Return the answers of a row that the registration names in ``opponents``, one for each scored answer."""
        parent = f"opponent:{label}"
        if parent not in self._request.parents:
            raise StageError(
                f"the metric asked for the answers of the row {label!r}",
                where=self._request.label,
                expected="that row in `opponents` of its registration",
            )
        drawn: dict[str, dict[int, Sample]] = {}
        for answer in self._read(parent):
            drawn.setdefault(answer.id, {})[answer.draw] = answer
        opposing = []
        for sample in self._samples:
            answers = drawn.get(sample.id)
            if answers is None:
                raise StageError(f"the row {label!r} has no answer to {sample.id}", where=self._request.label)
            opposing.append(answers[sample.draw % len(answers)])
        return opposing

    def cache(self, name: str) -> Path:
        """Return ``store/cache/NAME``."""
        folder = self._store.base / "cache" / name
        with machine_errors(folder):
            disk.make_folders(folder)
        return folder

    def discard_parts(self) -> None:
        """Remove what was kept in case that the stage is killed: it is done."""

    def tell(self, done: int, total: int, note: str) -> None:
        """Pass it on to whoever shows progress."""
        self._tell(done, total, "answer", note)
