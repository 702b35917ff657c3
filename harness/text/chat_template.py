"""What a chat template makes of a conversation: what it writes itself, and where it puts what the turns say.

The template never sees what they say. It is rendered with a sign in the place of each content, and the contents are put
where it put the signs: so nothing in a content can steer it, and what is somebody's data stays known as such. How much
white space a template takes off a content is found out by trying.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from harness.api import InputError, Turn
from harness.errors import first_line
from harness.text.markers import Piece

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.api.conversation import Role

#: The sign that stands for the content of a turn, and white space of three kinds that a template may take off.
_SIGN: Final = re.compile("\ue000([0-9]+)\ue001")
_BLANKS: Final = (" ", "\n", "\u2003")


class _Place(NamedTuple):
    """Where a template puts what a turn says."""

    turn: int
    left: tuple[bool, ...]
    """Which of the kinds of white space it takes off at the left end of the content."""
    right: tuple[bool, ...]

    def fill(self, content: str) -> str:
        """Return a content as it comes out."""
        return _strip(_strip(content, self.left, str.lstrip), self.right, str.rstrip)


def _strip(content: str, kinds: tuple[bool, ...], strip: Any) -> str:
    if all(kinds):
        return str(strip(content))
    return str(strip(content, "".join(blank for blank, taken in zip(_BLANKS, kinds, strict=True) if taken)))


_Form: TypeAlias = "tuple[str | _Place, ...]"
#: The role of each turn, and what it says where that is blank: templates make exceptions of it.
_Shape: TypeAlias = "tuple[tuple[Role, str | None], ...]"


class Reply(NamedTuple):
    """How a template writes an answer behind its own beginning of the assistant's turn."""

    before: str
    content: _Place
    behind: str


class ChatTemplate:
    """A chat template in Jinja, as transformers renders it for one tokenizer."""

    def __init__(self, source: str, tokenizer: Any, where: str | None) -> None:
        """Take the template's source and the tokenizer, whose special tokens it may name."""
        self.source = source
        self._tokenizer = tokenizer
        self._where = where
        self._prompt_form = lru_cache(maxsize=4096)(self._new_prompt_form)
        self._reply_form = lru_cache(maxsize=4096)(self._new_reply_form)

    def prompt(self, turns: Sequence[Turn]) -> list[Piece]:
        """Return a conversation up to where the assistant begins to answer.

        Raises:
            InputError: the template refuses the conversation, or leaves out a turn.
        """
        return [
            Piece(part) if isinstance(part, str) else Piece(part.fill(turns[part.turn].content), is_data=True)
            for part in self._prompt_form(_shape(turns))
        ]

    def reply(self, turns: Sequence[Turn]) -> Reply:
        """Return how the template goes on behind :meth:`prompt` with the assistant's answer.

        Raises:
            InputError: it refuses the conversation, leaves the answer out, or begins it in another way than it lets the
                assistant begin.
        """
        return self._reply_form(_shape(turns))

    def whole(self, turns: Sequence[Turn]) -> list[Piece]:
        """Return a conversation with nothing behind it."""
        return [
            Piece(part) if isinstance(part, str) else Piece(part.fill(turns[part.turn].content), is_data=True)
            for part in self._form(_shape(turns), generate=False)
        ]

    def _new_prompt_form(self, shape: _Shape) -> _Form:
        return self._form(shape, generate=True)

    def _new_reply_form(self, shape: _Shape) -> Reply:
        prompt = self._prompt_form(shape)
        form = self._form((*shape, ("assistant", None)), generate=False)
        places = [number for number, part in enumerate(form) if isinstance(part, _Place) and part.turn == len(shape)]
        if len(places) != 1:
            what = "leaves out what the assistant says" if not places else "writes what the assistant says twice"
            raise InputError(f"the chat template {what}", where=self._where, hint=_OWN)
        place = places[0]
        content = form[place]
        assert isinstance(content, _Place)
        behind = "".join(part for part in form[place + 1 :] if isinstance(part, str))
        # what it writes before an answer ends with, or goes on from, what it writes for the assistant to begin
        before = form[place - 1] if place and isinstance(form[place - 1], str) else ""
        begin = prompt[-1] if prompt and isinstance(prompt[-1], str) else ""
        assert isinstance(before, str)
        assert isinstance(begin, str)
        start = before.rfind(begin) if begin else 0
        if start < 0:
            raise InputError(
                "the chat template begins an answer in another way than it lets the assistant begin",
                where=self._where, got=before, expected=f"{begin!r}, which its generation prompt is", hint=_OWN,
            )  # fmt: skip
        return Reply(before[start + len(begin) :], content, behind)

    def _form(self, shape: _Shape, *, generate: bool) -> _Form:
        """Render a shape of conversation with signs, and with each kind of white space on each side of every sign."""

        def render(left: str, right: str) -> tuple[list[str], list[int]]:
            said = [
                Turn(role, f"{left}\ue000{number}\ue001{right}" if empty is None else empty)
                for number, (role, empty) in enumerate(shape)
            ]
            parts = _SIGN.split(self._render(said, generate=generate))
            return parts[::2], [int(number) for number in parts[1::2]]

        written, order = render("", "")
        for number, (role, empty) in enumerate(shape):
            if empty is None and number not in order:
                raise InputError(
                    f"the chat template leaves out what the {role} says (turn {number + 1})",
                    where=self._where,
                    hint=_OWN,
                )
        lefts, rights = [], []
        for blank in _BLANKS:
            left, left_order = render(blank, "")
            right, right_order = render("", blank)
            if left_order != order or right_order != order:
                raise self._unsteady()
            lefts.append([self._taken(a, b, b + blank) for a, b in zip(left[:-1], written[:-1], strict=True)])
            rights.append([self._taken(a, b, blank + b) for a, b in zip(right[1:], written[1:], strict=True)])
        form: list[str | _Place] = []
        for place, number in enumerate(order):
            form += [written[place]] if written[place] else []
            form.append(_Place(number, tuple(kind[place] for kind in lefts), tuple(kind[place] for kind in rights)))
        return (*form, written[-1]) if written[-1] else tuple(form)

    def _taken(self, tried: str, plain: str, kept: str) -> bool:
        if tried not in (plain, kept):
            raise self._unsteady()
        return tried == plain

    def _unsteady(self) -> InputError:
        return InputError(
            "the chat template writes something else where what is said begins or ends with white space",
            where=self._where, hint=_OWN,
        )  # fmt: skip

    def _render(self, turns: Sequence[Turn], *, generate: bool) -> str:
        said = [{"role": turn.role, "content": turn.content} for turn in turns]
        try:
            text = self._tokenizer.apply_chat_template(
                said, chat_template=self.source, tokenize=False, add_generation_prompt=generate
            )
        except Exception as error:  # a template raises what it likes
            roles = ", ".join(turn.role for turn in turns)
            raise InputError(
                f"the chat template refuses a conversation of {roles}: {first_line(error)}",
                where=self._where,
                hint=_OWN,
            ) from error
        return str(text)


#: What to do about a template.
_OWN: Final = "`template: {chat: …}` may give another chat template, as text"


def _shape(turns: Sequence[Turn]) -> _Shape:
    return tuple((turn.role, None if turn.content.strip() else turn.content) for turn in turns)
