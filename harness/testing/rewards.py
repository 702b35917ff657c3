"""The check of a reward."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from harness.errors import PluginError
from harness.plugins.protocols import check_reward_call
from harness.plugins.reading import reading
from harness.testing.registrations import broken, build, check_registration, random_numbers_untouched, registry_of
from harness.testing.rules import rule
from harness.training.tokenizer import PluginTokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.api import RewardRegistration

#: Answers that have tripped rewards: empty, white space, one word, other scripts, repetition, markup, a long one.
COMPLETIONS = (
    "",
    " ",
    "yes",
    "Yes, it is.",
    "yes yes yes yes",
    "é 你好 🙂",
    "a\nb\tc",
    "<b>it</b> & {x}",
    "word " * 200,
)


def check_reward(
    registration: RewardRegistration,
    options: Mapping[str, Any] | None = None,
    columns: Mapping[str, Sequence[Any]] | None = None,
) -> None:
    """Check that a reward keeps TRL's signature as the harness calls it.

    One finite number or None an answer, within the registered range; the same whatever else is in the call, in
    whatever order; unknown columns are let pass, and none is read that the registration does not declare; without the
    references that it declares there is no reward; nothing is changed in what it is given; no global random numbers.

    Args:
        registration: the reward.
        options: as a benchmark file would give them.
        columns: further columns of the data that the reward reads, one entry an answer of :data:`COMPLETIONS`.

    Raises:
        ContractError: the reward breaks its contract.
        ValueError: it declares a column that ``columns`` does not give.
    """
    check_registration(registration)
    reward = build(registration, options)
    resolved: Any = registry_of(registration).resolved("reward", registration.name, options or {})
    lacking = set(resolved.reads) - {"references", *(columns or {})}
    if lacking:
        raise ValueError(f"the reward reads {sorted(lacking)}: give them as columns={{name: one entry an answer}}")
    try:
        check_reward_call(reward, resolved, f"reward {registration.name!r}")
        _check(registration, resolved, reward, columns or {})
    except PluginError as error:
        broken(registration, f"{error.what}; expected {error.expected}")


def _check(
    registration: RewardRegistration,
    resolved: RewardRegistration,
    function: Callable[..., Any],
    columns: Mapping[str, Sequence[Any]],
) -> None:
    reward = reading(function, resolved, f"reward {registration.name!r}")
    size = len(COMPLETIONS)
    call: dict[str, Any] = {
        "prompts": [f"Question {number}?" for number in range(size)],
        "completions": list(COMPLETIONS),
        "completion_ids": [[ord(letter) % 251 for letter in text] for text in COMPLETIONS],
        "references": [("Yes, it is.", "yes")] * size,
        "a_column_nobody_asked_for": list(range(size)),
        **{name: list(values) for name, values in columns.items()},
    }
    if "reward_model" in registration.needs:
        reward = functools.partial(reward, reward_model=_lengths)
    if "tokenizer" in registration.needs:
        from harness.execution.tiny import tiny_tokeniser  # it needs torch, which most rewards do not

        tokeniser = tiny_tokeniser()
        reward = functools.partial(reward, tokenizer=PluginTokenizer(tokeniser, tokeniser.eos_id))
    kept = copy.deepcopy(call)
    with rule("one finite number or None an answer, in its range; nothing undeclared read, nothing given changed"):
        with random_numbers_untouched(registration, "calling it"):
            values = _call(registration, reward, call)
        if call != kept:
            broken(registration, "it changed what it was given")
        limits = registration.range
        for text, value in zip(COMPLETIONS, values, strict=True):
            if value is not None and limits is not None and not limits[0] <= value <= limits[1]:
                broken(registration, f"{value} for {text[:20]!r} is outside its range {limits}")
    with rule("the same whatever else is in the call, in whatever order"):
        backwards = _call(registration, reward, {name: column[::-1] for name, column in call.items()})
        alone = [_call(registration, reward, {name: [col[i]] for name, col in call.items()})[0] for i in range(size)]
        for i, text in enumerate(COMPLETIONS):
            if not values[i] == backwards[size - 1 - i] == alone[i]:
                seen = f"{values[i]}, {backwards[size - 1 - i]} and {alone[i]}"
                broken(registration, f"the reward of {text[:20]!r} depends on the other answers of the call: {seen}")
        if _call(registration, reward, {name: [] for name in call}) != []:
            broken(registration, "no answers must give no rewards")
    if "references" in resolved.reads:
        with rule("no reward where there is no reference to compare with"):
            without = _call(registration, reward, {**call, "references": [()] * size})
            for text, value in zip(COMPLETIONS, without, strict=True):
                if value is not None:
                    what = f"{text[:20]!r} has no reference to compare with, and the reward {value}"
                    broken(registration, f"{what}: what cannot be judged has none (None), and never 0")


def _lengths(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
    """Stand in for a reward model: a tenth a character, less one a character of the prompt."""
    return [0.1 * len(text) - len(prompt) for prompt, text in zip(prompts, completions, strict=True)]


def _call(registration: RewardRegistration, reward: Any, columns: Mapping[str, list[Any]]) -> list[float | None]:
    state = SimpleNamespace(global_step=0, max_steps=1, epoch=0.0, num_train_epochs=1)
    values = reward(**columns, trainer_state=state, log_extra=lambda *_: None, log_metric=lambda *_: None)
    if inspect.isawaitable(values):

        async def wait() -> Any:
            return await values

        values = asyncio.run(wait())
    if not isinstance(values, (list, tuple)) or len(values) != len(columns["completions"]):
        broken(registration, f"it must return a list with one entry an answer, and returned {values!r:.80}")
    for value in values:
        if value is not None and not (isinstance(value, (int, float)) and math.isfinite(value)):
            broken(registration, f"a reward is a finite number, or None where there is none, and not {value!r}")
    return list(values)
