"""Rows that are conversations: ``messages``, and the conversational forms that TRL has of every kind of row.

A row is read into what the others have, texts in ``prompt``, ``completion``, ``chosen`` and ``rejected``, beside the
turns that are to be answered. An answer is what the assistant says last; what was said before it is part of the prompt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeGuard, get_args

from harness.api import InputError, Role, Turn, suggest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness_plugins.datasets.files.fields import Columns

_ROLES: Final[tuple[str, ...]] = get_args(Role)
#: Keys of a message that change what is said, and that are refused rather than passed over.
_UNREAD: Final = ("tool_calls", "function_call", "tool_call_id")


class Conversational(NamedTuple):
    """A row with texts where it had messages."""

    row: Mapping[str, Any]
    turns: tuple[Turn, ...]
    """What is to be answered; empty where the row is no conversation."""

    @property
    def fields(self) -> dict[str, str]:
        """Return what a template of text may name.

        A person's only turn is an instruction as any other; of several turns there is the whole conversation alone, so
        that no template passes over what was said before.
        """
        if len(self.turns) == 1 and self.turns[0].role == "user":
            content = self.turns[0].content
            return {"instruction": content, "prompt": content, "context": ""}
        return {"conversation": transcript(self.turns)}


def transcript(turns: Sequence[Turn]) -> str:
    """Return a conversation as a text to read."""
    return "\n\n".join(f"{turn.role.capitalize()}: {turn.content}" for turn in turns)


def read_conversation(row: Mapping[str, Any], columns: Columns, where: str) -> Conversational:
    """Return a row with texts in the place of messages, and the turns; a row without messages as it is.

    Raises:
        InputError: messages that are broken or out of order, or answers to different conversations.
    """
    messages, prompt = columns.messages, columns.prompt or "prompt"
    answers = {
        name: field
        for name, field in (
            ("completion", columns.completion),
            ("chosen", columns.chosen or "chosen"),
            ("rejected", columns.rejected or "rejected"),
        )
        if field is not None and _is_messages(row.get(field))
    }
    if messages is not None and _is_messages(row.get(messages)) and not _is_messages(row.get(prompt)) and not answers:
        turns = _turns(row[messages], f"{where}, {messages}")
        for name in (prompt, columns.completion or "completion"):
            _refuse_another(row, name, turns, where)
        rest = {name: value for name, value in row.items() if name != messages}
        if turns[-1].role != "assistant":
            return _asked(rest, turns, prompt, where)
        return _asked({**rest, columns.completion or "completion": turns[-1].content}, turns[:-1], prompt, where)
    if not answers and not _is_messages(row.get(prompt)):
        return Conversational(row, ())
    before = _before(row, prompt, where)
    changed = dict(row)
    said: dict[str, tuple[Turn, ...]] = {}
    for name, field in answers.items():
        whole = _turns(row[field], f"{where}, {field}")
        if whole[-1].role != "assistant":
            raise InputError(
                "an answer ends with what the assistant says", where=f"{where}, {field}", got=whole[-1].role
            )
        said[name], changed[field] = (*before, *whole[:-1]), whole[-1].content
    if len(set(said.values())) > 1:
        raise InputError(
            "the two answers do not answer the same conversation", where=where,
            expected="chosen and rejected that differ in what the assistant says last, and in nothing before",
        )  # fmt: skip
    return _asked(changed, next(iter(said.values()), before), prompt, where)


def _refuse_another(row: Mapping[str, Any], name: str, turns: Sequence[Turn], where: str) -> None:
    """Refuse a row that says beside its messages what none of them says: one of both would be passed over."""
    value = row.get(name)
    spoken = {turn.content.strip() for turn in turns}
    if value is None or (isinstance(value, str) and value.strip() in spoken):
        return
    raise InputError(
        f"this row has messages and a {name!r} that none of them says", where=where, got=value,
        expected="the one or the other",
        hint=f"columns: {{messages: null}} reads {name!r}; columns: {{{name}: NAME}} leaves it to rewards as a column",
    )  # fmt: skip


def _before(row: Mapping[str, Any], prompt: str, where: str) -> tuple[Turn, ...]:
    """Return the turns of a prompt, which may also be a text."""
    value: Any = row.get(prompt)
    if isinstance(value, str) and value.strip():
        return (Turn("user", value),)
    return _turns(value, f"{where}, {prompt}") if _is_messages(value) else ()


def _asked(row: Mapping[str, Any], turns: tuple[Turn, ...], prompt: str, where: str) -> Conversational:
    if not turns or turns[-1].role != "user":
        raise InputError(
            "a conversation is answered where the user spoke last", where=where,
            got=", ".join(turn.role for turn in turns) or "nothing before the answer", expected="…, user, assistant",
        )  # fmt: skip
    return Conversational({**row, prompt: turns[-1].content}, turns)


def _is_messages(value: object) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _turns(value: Sequence[Mapping[str, Any]], where: str) -> tuple[Turn, ...]:
    return tuple(_turn(message, number, f"{where}[{number}]") for number, message in enumerate(value))


def _turn(message: Mapping[str, Any], number: int, where: str) -> Turn:
    if "from" in message and "value" in message:
        hint = "from and value are ShareGPT's names for role and content: rename them (human is user, gpt is assistant)"
        raise InputError("a message has no role", where=where, got=", ".join(sorted(message)), hint=hint)
    role: Any = message.get("role")
    if role not in _ROLES:
        raise InputError(
            "not a role that is read here", where=where, got=role, expected=", ".join(_ROLES),
            did_you_mean=suggest(str(role), _ROLES),
        )  # fmt: skip
    if role == "system" and number:
        raise InputError("the system speaks first or not at all", where=where, got=f"message {number + 1}")
    for key in _UNREAD:
        if message.get(key):
            raise InputError(f"a message with {key} cannot be learnt from here", where=where)
    content = message.get("content")
    if not isinstance(content, str):
        got = "null" if content is None else type(content).__name__
        raise InputError("the content of a message is not a text", where=where, got=got)
    if not content.strip() and role != "system":
        raise InputError("the content of a message is blank", where=where)
    return Turn(role, content)
