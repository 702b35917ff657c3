"""The options of ``win-rate``. What says how requests are sent, and no more, is marked so: it enters no id."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from harness.api import Options, runtime

#: What ``against`` calls the data set's own answer; every other name is the label of a row.
CHOSEN: Final = "chosen"

#: What a template of one's own must name.
PLACES: Final = ("{prompt}", "{answer_a}", "{answer_b}")

#: Options that mean nothing to a judge that is not an endpoint.
_OF_ENDPOINTS: Final = (
    "model", "base_url", "api_key_env", "criterion", "ties", "template", "temperature", "max_tokens", "limit_name",
    "price_per_million", "max_calls", "max_cost", "max_unanswered", "concurrency", "retries", "backoff", "max_wait",
    "timeout",
)  # fmt: skip


class Price(Options):
    """What a million tokens cost, in any currency."""

    input: NonNegativeFloat
    output: NonNegativeFloat


class WinRateOptions(Options):
    """Who judges, what is compared with what, and how."""

    judge: Literal["endpoint", "reward-model", "rule"]
    """``endpoint``: a model behind any OpenAI-compatible endpoint (extra ``judge``). ``reward-model``: the file's
    ``reward_model``. ``rule``: ``rule`` below. The last two are offline, and no substitute for people's preference."""
    against: tuple[str, ...] = Field((CHOSEN,), min_length=1)
    """Who each answer is compared with: ``chosen``, the data set's own answer (its first reference), and labels of
    rows, whose answers to the same prompt of the same draw are taken."""
    order: Literal["both", "random"] = "both"
    """``both``: each pair twice, either answer first; two replies that disagree are a tie and count as inconsistent.
    ``random``: once, in an order drawn from a hash of the pair (the DPO paper's protocol)."""
    null_answer: str = "I do not know."
    """A constant answer that is always judged too, against every opponent."""
    column: str | None = None
    """The data set's column that ``chosen`` is read from instead of the first reference."""
    rule: Literal["longer", "shorter", "rouge-l"] = "longer"
    """What a ``rule`` prefers: more characters, fewer, or the higher ROUGE-L against the references; equal is a tie."""
    model: str | None = None
    """The judge's name as the endpoint has it."""
    base_url: str = "https://api.openai.com/v1"
    """Where the endpoint is; no user and no key stand in it."""
    api_key_env: str | None = runtime("OPENAI_API_KEY")
    """Name of the environment variable that holds the key; ``null`` for an endpoint that wants none."""
    criterion: str = Field("is more helpful", min_length=1)
    """What the better answer does, in the words of the request: "say which answer …"."""
    ties: bool = False
    """Let the judge call two answers equally good; without it the choice is forced."""
    template: str | None = runtime(None)
    """A text file with a request of one's own, which names {prompt}, {answer_a} and {answer_b}, and {nonce} for a code
    that the verdict must repeat. Its reply ends with a line that says A or B."""
    template_sha256: str | None = None
    """Of that file; filled in where None, checked where given."""
    temperature: NonNegativeFloat | None = 0.0
    """Of the judge; ``null`` sends none, for models that refuse it."""
    max_tokens: PositiveInt = 256
    """Longest reply."""
    limit_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the endpoint calls the limit of a reply."""
    price_per_million: Price | None = None
    """``{input, output}``: what a million tokens cost, in any currency; the tables then tell the cost."""
    max_calls: PositiveInt | None = runtime(None)
    """Requests that may ever be sent to this judge from one results folder, repetitions among them."""
    max_cost: PositiveFloat | None = runtime(None)
    """What all of them may cost, in the currency of the price."""
    max_unanswered: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Share of comparisons that may stay without any reply (time-outs, 5xx, 429 to the last); they are missing. Above
    it the cell fails, and running again goes on."""
    concurrency: PositiveInt = runtime(8)
    """Requests at a time, of each stage."""
    retries: NonNegativeInt = runtime(5)
    """Repetitions of a request after 429, 408, 5xx, a time-out or a broken reply."""
    backoff: NonNegativeFloat = runtime(1.0)
    """Seconds before the first repetition, doubled for each further one; a longer Retry-After is kept to."""
    max_wait: PositiveFloat = runtime(120.0)
    """Longest wait in seconds; a Retry-After beyond it leaves the comparison unanswered."""
    timeout: PositiveFloat = runtime(60.0)
    """Seconds for one request, from the first byte sent to the last received."""

    @field_validator("against")
    @classmethod
    def _differ(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("an opponent is listed twice")
        return value

    @field_validator("template_sha256")
    @classmethod
    def _of_the_file(cls, value: str | None, info: ValidationInfo) -> str | None:
        path = info.data.get("template")
        if path is None:
            if value is not None:
                raise ValueError("template_sha256 goes with a template")
            return None
        digest = hashlib.sha256(read_template(path).encode()).hexdigest()
        if value is not None and value != digest:
            raise ValueError(f"{path} has sha256 {digest}")
        return digest

    @model_validator(mode="after")
    def _hold_no_secret(self) -> Self:
        """Refuse a key in the file. A message about the whole entry repeats no value, and such a value may be a key."""
        parts = urlsplit(self.base_url)
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("base_url must hold neither user, key nor query: the key comes from the environment")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("base_url must begin with http:// or https:// and a host")
        if self.api_key_env is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", self.api_key_env):
            raise ValueError("api_key_env is the name of an environment variable, and never the key itself")
        return self

    @model_validator(mode="after")
    def _fit(self) -> Self:
        fields = type(self).model_fields
        if self.judge != "endpoint":
            given = [name for name in _OF_ENDPOINTS if getattr(self, name) != fields[name].default]
            if given:
                raise ValueError(f"{given[0]} is for judge: endpoint, and the judge is {self.judge}")
        elif not self.model:
            raise ValueError("judge: endpoint needs the model's name (model: …)")
        if self.judge != "rule" and self.rule != fields["rule"].default:
            raise ValueError(f"rule is for judge: rule, and the judge is {self.judge}")
        if self.max_cost is not None and self.price_per_million is None:
            raise ValueError("max_cost needs price_per_million: {input: …, output: …}")
        if self.template is not None and self.criterion != fields["criterion"].default:
            raise ValueError("criterion is for the harness's own request, and there is a template")
        return self

    @property
    def rows(self) -> tuple[str, ...]:
        """Labels of the rows among the opponents."""
        return tuple(label for label in self.against if label != CHOSEN)


def read_template(path: str) -> str:
    """Return the text of a template.

    Raises:
        ValueError: It cannot be read, or lacks a place that it must have.
    """
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ValueError(f"the template {path} cannot be read: {reason}") from error
    missing = [place for place in PLACES if place not in text]
    if missing:
        raise ValueError(f"the template {path} does not name {' and '.join(missing)}")
    return text
