"""Rows held out of training: which they are depends on nothing but themselves."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final, Self

from pydantic import Field, model_validator

from harness.api import InputError, Options, suggest
from harness_plugins.upstream.lines import fold, present

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from harness.api import Example

_RANGE: Final = 2**64


class Holdout(Options):
    """Which shares of the rows are held out of training, and what keeps rows together."""

    test: float = Field(0.0, ge=0.0, lt=1.0, allow_inf_nan=False)
    """Share of the rows that ``split: test`` has."""
    validation: float = Field(0.0, ge=0.0, lt=1.0, allow_inf_nan=False)
    """Share of the rows that ``split: validation`` has."""
    by: str | None = None
    """Column whose equal values stay in one split (the turns of a dialogue, the questions on a document); the whole
    prompt where null."""
    of: str = Field("train", min_length=1)
    """The split that they are taken from, where the data has several; what is left of it keeps the name."""

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if not self.test and not self.validation:
            raise ValueError("nothing is held out: give test, validation or both, such as test: 0.1")
        if self.test + self.validation >= 1:
            raise ValueError(f"test and validation are {self.test + self.validation:g} together: no row is left")
        if self.of in self.names():
            raise ValueError(f"of: {self.of} is what is taken from, and a split that is held out")
        return self

    def names(self) -> tuple[str, ...]:
        """Return the splits that rows are held out for."""
        return tuple(name for name in ("validation", "test") if getattr(self, name))

    def splits(self, names: Collection[str], where: str) -> tuple[str, ...]:
        """Return the splits of data that has those called ``names``.

        Raises:
            InputError: what is held out is there already, or what it is taken from is not.
        """
        if self.of not in names:
            raise InputError(
                "there is no split to hold rows out of", where=where, got=self.of,
                expected=f"holdout: {{of: NAME}}, one of {', '.join(names)}", did_you_mean=suggest(self.of, names),
            )  # fmt: skip
        if taken := sorted({*self.names()} & {*names}):
            raise InputError(
                f"the split {taken[0]!r} is here, and holdout would make another", where=where,
                expected=f"holdout without {taken[0]}",
            )  # fmt: skip
        return (*names, *self.names())

    def place(self, row: Mapping[str, Any], example: Example, where: str) -> str:
        """Return the split of a row.

        A larger share of the test has all rows of a smaller one.

        Raises:
            InputError: the row lacks the column that keeps rows together.
        """
        digest = hashlib.sha256(self._group(row, example, where).encode()).digest()
        point = int.from_bytes(digest[:8], "big")
        if point < self.test * _RANGE:
            return "test"
        return "validation" if point < (self.test + self.validation) * _RANGE else self.of

    def _group(self, row: Mapping[str, Any], example: Example, where: str) -> str:
        """Return what is the same in rows that stay together."""
        if self.by is None:  # what counts as one prompt where training and test are compared
            return json.dumps(sorted({name: fold(text) for name, text in example.fields.items() if text}.items()))
        self.check(row, where)
        value = row[self.by]
        if value is None or value == "":
            raise InputError(
                f"the field {self.by!r} is {'null' if value is None else 'empty'}, and holdout keeps rows together by"
                " it", where=where,
            )  # fmt: skip
        return json.dumps(value, sort_keys=True)

    def check(self, row: Mapping[str, Any], where: str) -> None:
        """Raise InputError where the column that keeps rows together is not in this row."""
        if self.by is not None:
            present(row, self.by, where, hint="`holdout: {by: NAME}` names the column that keeps rows together")

    def note(self, split: str) -> str:
        """Say in a caption what was held out, and how."""
        shares = ", ".join(f"{name} {getattr(self, name):g}" for name in self.names())
        by = f"the column {self.by!r}" if self.by is not None else "prompt"
        return f"{split} by a holdout of {self.of} ({shares}; split by a hash of {by})"
