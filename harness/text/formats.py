"""How rows become prompts and answers as token ids: by a template of text, or by a chat template."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol

from harness.api import Conversation, Turn
from harness.errors import InputError
from harness.text.chat_template import ChatTemplate
from harness.text.markers import Piece, marked_texts
from harness.text.templates import parse, render, users_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.api import Example
    from harness.spec.model import Template
    from harness.text.chat_template import Reply
    from harness.text.tokenise import Tokeniser


class Format(Protocol):
    """A template with a tokenizer."""

    tokeniser: Tokeniser
    end_id: int
    """The token that ends an answer in training."""
    chat_template: str | None
    """The source of the chat template; None for a template of text."""

    def render(self, example: Example, *, where: str | None = None) -> str:
        """Return the prompt of a row; InputError where the template does not fit it."""

    def prompts(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return the ids of prompts, as :meth:`render` gives them."""

    def answers(self, prompts: Sequence[str], answers: Sequence[str]) -> list[list[int]]:
        """Return the ids of answers behind their prompts, without what ends them."""

    def finished(self, prompts: Sequence[str], answers: Sequence[str], *, whole: bool = False) -> list[list[int]]:
        """Return the ids of answers and of what ends them; ``whole``: and of all that the template writes behind."""

    def judged(self, prompt: str, answer: str) -> str:
        """Return an answer as a reward model reads it behind its prompt."""

    def cut(self, example: Example, most: int, *, where: str | None = None) -> str:
        """Return the prompt of a row, cut to at most ``most`` tokens; InputError where nothing of it fits."""

    def shorten(self, prompt: str, most: int) -> str:
        """Return a prompt with as much of its left end taken off as it takes to have at most ``most`` tokens."""


@lru_cache(maxsize=8)  # a checkpoint's template is tried once
def format_of(template: Template, tokeniser: Tokeniser, *, where: str | None = None) -> Format:
    """Return how rows are written by ``template`` for the model of a tokenizer.

    Raises:
        InputError: a template of text that writes special tokens; a chat template that is wanted and not there, is
            broken, or has no place for the system prompt.
    """
    return ChatFormat(template, tokeniser, where) if template.chat else TextFormat(template, tokeniser, where)


class TextFormat:
    """Prompt and answer are tokenised separately and concatenated; EOS ends the answer."""

    def __init__(self, template: Template, tokeniser: Tokeniser, where: str | None = None) -> None:
        """Take both.

        Raises:
            InputError: the template writes special tokens.
        """
        self.tokeniser = tokeniser
        self.end_id = tokeniser.eos_id
        self.chat_template: str | None = None
        self._template = template
        self._check(where)

    def render(self, example: Example, *, where: str | None = None) -> str:
        """Return the template with the row's fields put in."""
        return render(self._template, example.fields, where=where)

    def prompts(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return the ids of prompts, BOS first where that is the tokenizer's convention."""
        return self.tokeniser.prompts(prompts)

    def answers(self, prompts: Sequence[str], answers: Sequence[str]) -> list[list[int]]:  # noqa: ARG002  # Format's
        """Return the ids of answers, whatever they stand behind."""
        return self.tokeniser.completions(answers)

    def finished(self, prompts: Sequence[str], answers: Sequence[str], *, whole: bool = False) -> list[list[int]]:  # noqa: ARG002  # EOS is all
        """Return the ids of answers, and EOS."""
        return [[*ids, self.end_id] for ids in self.answers(prompts, answers)]

    def judged(self, prompt: str, answer: str) -> str:
        """Return an answer stripped, and parted from the prompt by a blank where none is there."""
        return answer_text(prompt, answer)

    def cut(self, example: Example, most: int, *, where: str | None = None) -> str:
        """Return a prompt that fits: first its ``truncate`` field is cut, then, if need be, the prompt itself."""
        name = self._template.truncate

        def with_field(value: str) -> str:
            return render(self._template, {**example.fields, name: value}, where=where)

        text = _shortened(self, with_field, example.fields[name], most) if name in example.fields else with_field("")
        text = self.shorten(text, most)
        return _fitting(self, text, most, where)

    def shorten(self, prompt: str, most: int) -> str:
        """Return a prompt without as much of its left end as it takes."""
        return _shortened(self, str, prompt, most)

    def _check(self, where: str | None) -> None:
        """BOS and EOS are added as ids; a template that spells them would get them as text, and twice at that."""
        template = self._template
        for text in (template.text, template.text_without_context):
            for piece in (piece for piece in parse(text or "") if not piece.is_field):
                for token in self.tokeniser.special_tokens:
                    if token in piece.text:
                        raise InputError(
                            "the template writes a special token; the tokenizer's own are put in without that",
                            where=where,
                            got=token,
                            hint="template: chat uses the tokenizer's chat template, whose special tokens are tokens",
                        )


def answer_text(prompt: str, answer: str) -> str:
    """Return an answer stripped, and parted from the prompt by a blank where none is there.

    Sampled answers come without white space at their ends, answers of a data set may have it; a reward model that saw
    the one in training and the other in use would judge the blank.
    """
    answer = answer.strip()
    return f" {answer}" if answer and prompt and not prompt[-1].isspace() else answer


#: A conversation to try a chat template on.
_TRIAL: Final = (Turn("user", "What is it?"),)


class ChatFormat:
    """A chat template: what it writes may be special tokens, what is said in the conversation is text alone.

    Prompt and answer together have the ids that transformers' ``apply_chat_template`` gives them (see
    :meth:`finished` for the exception). An answer stands without white space at its ends.
    """

    def __init__(self, template: Template, tokeniser: Tokeniser, where: str | None = None) -> None:
        """Take both, and try the chat template.

        Raises:
            InputError: there is no chat template; or it is broken, or has no place for the system prompt.
        """
        self.tokeniser = tokeniser
        self._template = template
        self._where = where
        source = template.chat if isinstance(template.chat, str) else tokeniser.chat_template
        if source is None:
            raise InputError(
                "the tokenizer has no chat template",
                where=where,
                got="template: chat",
                expected="a model with chat_template.jinja, or chat_template in tokenizer_config.json",
                hint="`template: {chat: …}` gives one as text; `template: {text: …}` does without",
            )
        self.chat_template: str | None = source
        self._chat = ChatTemplate(source, tokeniser.wrapped, where)
        self._marked = marked_texts(tokeniser.backend_json, source)
        self._try()

    def _try(self) -> None:
        turns = self._with_system(_TRIAL)
        end = self._marked.first_marker(self._chat.reply(turns).behind)
        self._closes = end is not None
        self.end_id = self.tokeniser.eos_id if end is None else end[0]
        answered = [*turns, Turn("assistant", "It is this.")]
        ids, whole = self._marked.encode([self._chat.whole(turns), self._chat.whole(answered)])
        for given, mine in ((turns, ids), (answered, whole)):
            expected = self.tokeniser.apply_chat_template(self._chat.source, given)
            if mine != expected:
                raise InputError(
                    "the chat template cannot be followed: it makes something else of what is said", where=self._where,
                    got=str(mine), expected=str(expected),
                )  # fmt: skip

    def render(self, example: Example, *, where: str | None = None) -> Conversation:
        """Return the conversation of a row, or the row's text as what the user says, behind the system prompt."""
        turns = example.turns or (Turn("user", users_text(self._template, example.fields, where=where)),)
        return self._conversation(self._with_system(turns))

    def prompts(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return the ids of conversations; a plain text is what a user says."""
        return self._marked.encode([self._chat.prompt(self._turns(prompt)) for prompt in prompts])

    def answers(self, prompts: Sequence[str], answers: Sequence[str]) -> list[list[int]]:
        """Return the ids of answers, without the token that ends them."""
        return [ids[:-1] for ids in self.finished(prompts, answers)]

    def finished(self, prompts: Sequence[str], answers: Sequence[str], *, whole: bool = False) -> list[list[int]]:
        """Return the ids of answers, each tokenised together with its prompt.

        Where the tokenizer puts the end of the prompt and the beginning of the answer into one token, which sampling
        behind the prompt could not write, the answer is tokenised by itself.
        """
        rows = [self._turns(prompt) for prompt in prompts]
        begun = [self._chat.prompt(turns) for turns in rows]
        said = [list(self._answer(turns, answer, whole)) for turns, answer in zip(rows, answers, strict=True)]
        starts = self._marked.encode(begun)
        both = self._marked.encode([[*start, *end] for start, end in zip(begun, said, strict=True)])
        closing = [] if self._closes or whole else [self.end_id]
        ids = []
        for place, (start, together) in enumerate(zip(starts, both, strict=True)):
            apart = together[: len(start)] != start
            ids.append((self._marked.encode([said[place]])[0] if apart else together[len(start) :]) + closing)
        return ids

    def judged(self, prompt: str, answer: str) -> str:  # noqa: ARG002  # the template parts them
        """Return an answer stripped."""
        return answer.strip()

    def cut(self, example: Example, most: int, *, where: str | None = None) -> Conversation:
        """Return a conversation that fits.

        Of a row without turns its ``truncate`` field is cut first. Of a conversation the oldest turns go first, each
        with its answer; what the user said last is then cut on its left. The system prompt stays.
        """
        name = self._template.truncate
        conversation = self.render(example, where=where)
        if not example.turns and name in example.fields:

            def with_field(value: str) -> str:
                return self.render(replace(example, fields={**example.fields, name: value}), where=where)

            conversation = _as_conversation(_shortened(self, with_field, example.fields[name], most))
        conversation = self.shorten(conversation, most)
        return _as_conversation(_fitting(self, conversation, most, where))

    def shorten(self, prompt: str, most: int) -> Conversation:
        """Return a conversation without its oldest turns, and without the left end of what the user said last."""
        turns = self._turns(prompt)
        while len(self.prompts([self._conversation(turns)])[0]) > most:
            first = 1 if turns[0].role == "system" else 0
            later = [place for place in range(first + 1, len(turns)) if turns[place].role == "user"]
            if not later:
                break
            turns = (*turns[:first], *turns[later[0] :])

        def with_end(value: str) -> str:
            return self._conversation((*turns[:-1], replace(turns[-1], content=value)))

        return _as_conversation(_shortened(self, with_end, turns[-1].content, most))

    def _answer(self, turns: Sequence[Turn], answer: str, whole: bool) -> Iterator[Piece]:  # noqa: FBT001  # private
        """Yield an answer with what the template writes around it, up to the token that ends it or to the end."""
        reply: Reply = self._chat.reply(turns)
        end = self._marked.first_marker(reply.behind)
        if (self.tokeniser.eos_id if end is None else end[0]) != self.end_id:
            raise InputError("the chat template ends some answers in another way than others", where=self._where)
        yield Piece(reply.before)
        yield Piece(reply.content.fill(answer.strip()), is_data=True)
        if whole or end is not None:
            yield Piece(reply.behind if whole or end is None else reply.behind[: end[1]])

    def _with_system(self, turns: Sequence[Turn]) -> tuple[Turn, ...]:
        system = self._template.system
        if system is None or turns[0].role == "system":
            return tuple(turns)
        return (Turn("system", system), *turns)

    def _conversation(self, turns: Sequence[Turn]) -> Conversation:
        return Conversation("".join(piece.text for piece in self._chat.prompt(turns)), turns)

    def _turns(self, prompt: str) -> tuple[Turn, ...]:
        return prompt.turns if isinstance(prompt, Conversation) else self._with_system((Turn("user", prompt),))


def _as_conversation(text: str) -> Conversation:
    assert isinstance(text, Conversation)
    return text


def _shortened(format_: Format, build: Callable[[str], str], value: str, most: int) -> str:
    """Return ``build(value)`` with as much of the left of ``value`` taken off as it takes, at most all."""
    while True:
        text = build(value)
        excess = len(format_.prompts([text])[0]) - most
        if excess <= 0 or not value:
            return text
        value = format_.tokeniser.cut_left(value, excess)


def _fitting(format_: Format, text: str, most: int, where: str | None) -> str:
    (ids,) = format_.prompts([text])
    if not ids or len(ids) > most:
        raise InputError("nothing of the prompt fits", where=where, got=most)
    return text
