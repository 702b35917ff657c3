"""Captures what a stage warns of: Python's warnings and libraries' logs, each text once a stage.

A worker's standard error reaches nobody, so what should reach a person passes through here: it is told as an event and
kept beside the stage's result. What is known to mean nothing is left out by :data:`MEANINGLESS`, and nowhere else.
"""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: Texts that are warnings in form and tell nobody anything, each with why.
MEANINGLESS: Final[Sequence[tuple[str, str]]] = (
    (r"`?loss_type=None`? was set in the config", "losses are the methods' own"),
    (r"generation flags? (is|are) not valid", "decoding is set by the benchmark file"),
    (r"Setting `?pad_token_id`? to `?eos_token_id`?", "padding is masked"),
    (r"Token indices sequence length is longer than", "what is too long is cut or left out, and counted"),
    (r"LOAD REPORT", "weights that are missing are an error, those that are not used a custom warning"),
    (r"Using a slow image processor|PyTorch was not found", "about what is not used here"),
    (r"torch_dtype` is deprecated", "about transformers' own files"),
    (r"is not deterministic|does not have a deterministic implementation", "the fingerprint says the device"),
)

#: Libraries whose loggers hand nothing on to the root logger.
_ALOOF: Final = ("transformers", "huggingface_hub", "datasets")

_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")

#: Longer texts are cut: a message must fit a note below a table.
_LONGEST: Final = 400


class WarningCapture(logging.Handler):
    """Collects what is warned of in one process, stage by stage."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        """Capture nothing yet; ``tell`` gets each text when a stage first says it."""
        super().__init__(logging.WARNING)
        self._tell = tell
        self.texts: list[str] = []
        """What the present stage has warned of, in its order."""

    @contextlib.contextmanager
    def stage(self) -> Iterator[list[str]]:
        """Capture while a stage is done; give the list that its warnings are added to.

        Python shows a warning once a place in the code: the context makes that once a place and stage.
        """
        self.texts = []
        loggers = [logging.getLogger(), *map(logging.getLogger, _ALOOF)]
        for logger in loggers:
            logger.addHandler(self)
        try:
            with warnings.catch_warnings():
                warnings.showwarning = self._show
                yield self.texts
        finally:
            for logger in loggers:
                logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Capture a line of a log."""
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001  # a library that logs badly must not end a stage
            text = str(record.msg)
        self.capture(text)

    def capture(self, text: str) -> None:
        """Keep a text, unless the stage said it before or it means nothing."""
        text = " ".join(_COLOURS.sub("", text).split())
        if len(text) > _LONGEST:
            text = f"{text[:_LONGEST].rstrip()} …"
        if not text or text in self.texts or any(re.search(known, text) for known, _ in MEANINGLESS):
            return
        self.texts.append(text)
        self._tell(text)

    def _show(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,  # noqa: ARG002  # a path of this machine, which a table must not tell
        lineno: int,  # noqa: ARG002  # as above
        file: TextIO | None = None,  # noqa: ARG002  # the hook's signature
        line: str | None = None,  # noqa: ARG002  # the hook's signature
    ) -> None:
        plain = issubclass(category, UserWarning) and category.__module__ == "builtins"
        self.capture(str(message) if plain else f"{category.__name__}: {message}")
