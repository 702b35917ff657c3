"""Loss on held-out text of another kind than what was trained on: what training has made the model forget."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, PositiveInt, ValidationInfo, field_validator

from harness.api import Column, InputError, MetricRegistration, MetricResult, Options, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.api import MetricServices, Sample


class TextLossOptions(Options):
    """Which text, and how much of it."""

    text: Literal["generated-summaries", "generated-instructions"] = "generated-summaries"
    """Texts of a generated data set's test split; to be chosen so that nothing like it is trained on. Not read where
    ``file`` is given."""
    file: str | None = None
    """Path of a text file in UTF-8, relative to the working directory: passages are drawn from it."""
    words: PositiveInt = 48
    """Words of a passage of a file, parted by white space; a passage begins where a sentence or a line does."""
    share: float = Field(1.0, gt=0.0, le=1.0)
    """Share of the prompts that is asked about, chosen by their ids; the others' values are missing."""
    sha256: str | None = None
    """Of the file; filled in where None, checked where given."""

    @field_validator("sha256")
    @classmethod
    def _of_the_file(cls, value: str | None, info: ValidationInfo) -> str | None:
        file = info.data.get("file")
        if file is None:
            if value is not None:
                raise ValueError("a sha256 is that of a file, and no file is named")
            return None
        path = Path(file).expanduser()
        if not path.is_file():
            raise ValueError(f"there is no file {file}")
        content = path.read_bytes()
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{file} is not text in UTF-8: {error.reason} at byte {error.start}") from error
        if not text.split():
            raise ValueError(f"{file} has no words")
        digest = hashlib.sha256(content).hexdigest()
        if value is not None and value != digest:
            raise ValueError(f"{file} has sha256 {digest}: it is another text than before")
        return digest


class TextLoss:
    """Negative log-likelihood of plain text under the policy, in nats a token, without a prompt or a template.

    Held-out loss is the simplest measure of forgetting: of two rows that do equally well on the task, the one whose
    loss on other text has risen less has paid less. Only its difference to another row says anything, and to the
    untrained model (the row ``base``) what all training has cost.

    The text has nothing to do with the answers: the id of each evaluated prompt draws a passage, with replacement and
    the same for every row and seed, so that rows are compared on equal text and an interval over prompts is one over
    passages.

    Costs: a forward over one passage an example, whatever its draws.
    """

    def __init__(self, options: TextLossOptions) -> None:
        """Keep the options; the text is read when it is needed."""
        self._options = options

    def score(self, samples: Sequence[Sample], services: MetricServices) -> MetricResult:
        """Return ``text_loss``, missing where a passage is a single token.

        Over the list: ``text_loss`` with every token of every passage weighing the same.
        """
        from harness_plugins.text.likelihood import over_all, per_token
        from harness_plugins.text.share import of_share
        from harness_plugins.text.signature import signature

        options = self._options
        ids = list(dict.fromkeys(sample.id for sample in of_share(samples, options.share)))
        passages = self._passages(ids) if ids else []
        pairs = dict(zip(ids, services.text_nll(passages), strict=True)) if ids else {}
        losses = {
            name: per_token(nll, tokens, where=f"metric 'text-loss', example {name!r}")
            for name, (nll, tokens) in pairs.items()
        }
        mean = over_all(pairs.values())
        said = f"file {options.sha256[:16]}, {options.words} words" if options.sha256 else options.text
        asked: dict[str, Any] = {} if options.share == 1.0 else {"share": options.share}
        return MetricResult(
            values={"text_loss": [losses.get(sample.id) for sample in samples]},
            corpus={} if mean is None else {"text_loss": mean},
            signature=signature("text-loss", text=said, given="nothing", **asked),
        )

    def _passages(self, ids: Sequence[str]) -> list[str]:
        from harness_plugins.text.passages import generated_passages, passages_of

        options = self._options
        if options.file is None:
            return generated_passages(options.text, ids)
        content = Path(options.file).expanduser().read_bytes()
        if hashlib.sha256(content).hexdigest() != options.sha256:
            raise InputError(
                "the file was changed while the benchmark ran", where=f"metric 'text-loss', {options.file}"
            )
        return passages_of(content.decode("utf-8"), options.words, ids)


@hookimpl
def harness_register_metrics() -> Iterable[MetricRegistration]:
    """Offer ``text-loss``."""
    loss = Column(
        "text_loss", "loss on other text", higher_is_better=False, unit="nats/token", digits=3, range=(0.0, None)
    )
    whole = Column(
        "text_loss",
        "corpus loss on other text",
        higher_is_better=False,
        unit="nats/token",
        digits=3,
        shown=False,
        range=(0.0, None),
    )
    return [
        MetricRegistration(
            name="text-loss",
            summary="loss of the policy on held-out text of another kind, of a file or generated",
            build="harness_plugins.metrics.text_loss:TextLoss",
            options=TextLossOptions,
            role="paid",
            needs=frozenset({"policy"}),
            columns=(loss,),
            corpus=(whole,),
        )
    ]
