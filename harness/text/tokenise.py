"""Text to token ids and back. Nothing else in the harness tokenises, so training and evaluation cannot differ."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from harness.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerFast

    from harness.api import Turn

#: What a tokenizer needs at least: one of these sets of files.
_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("tokenizer.model",))


class Tokeniser:
    """A tokenizer of a model folder, used one way everywhere.

    Prompt and completion are tokenised separately and concatenated. Text is data: a special token's name inside it
    (``</s>``, ``<|endoftext|>``) becomes ordinary tokens. Padding, truncation and ``padding_side`` of the underlying
    tokenizer are never used.
    """

    eos_id: int
    bos_id: int | None
    """What the tokenizer by its own convention puts before a text (OPT: ``</s>``); None where it puts nothing."""
    size: int
    """One more than the highest id that has a token."""
    absent: tuple[int, ...]
    """Ids below ``size`` without a token; almost always empty."""
    digest: str
    """sha256 (64 hex digits) of everything that decides which ids a text becomes; no path or version is in it."""
    special_tokens: tuple[str, ...]
    """Names of the tokens that no text can become."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, *, where: str | None = None) -> None:
        """Wrap a fast tokenizer, which is kept for :meth:`save` and not changed.

        Raises:
            InputError: it has no EOS token.
        """
        from tokenizers import Tokenizer

        if tokenizer.eos_token_id is None:
            raise InputError(
                "the tokenizer has no EOS token, so that no answer could ever end",
                where=where,
                expected="eos_token in tokenizer_config.json",
            )
        self._tokenizer = tokenizer
        self._backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._backend.encode_special_tokens = True
        self._backend.no_padding()
        self._backend.no_truncation()
        self.eos_id = int(tokenizer.eos_token_id)
        self._prefix = self._find_prefix()
        self.bos_id = self._prefix[0] if self._prefix else None
        ids = set(self._backend.get_vocab(with_added_tokens=True).values())
        self.size = max(ids) + 1
        self.absent = tuple(sorted(set(range(self.size)) - ids))
        self._special_ids = {
            token_id for token_id, token in self._backend.get_added_tokens_decoder().items() if token.special
        } | {self.eos_id, *self._prefix}
        self.special_tokens = tuple(
            token for token_id in sorted(self._special_ids) if (token := self._backend.id_to_token(token_id))
        )
        self.digest = self._find_digest()

    @classmethod
    def load(cls, folder: Path | str) -> Tokeniser:
        """Load the tokenizer of a local folder in Hugging Face format.

        Raises:
            InputError: no tokenizer, one that needs code, one without EOS, or one that cannot be read.
        """
        from transformers import AutoTokenizer, PreTrainedTokenizerFast

        folder = Path(folder)
        where = f"tokenizer ({folder})"
        if not any(all((folder / name).is_file() for name in names) for names in _FILES):
            raise InputError("the folder has no tokenizer", where=where, expected="tokenizer.json")
        settings = _settings(folder, where)
        if settings.get("auto_map"):
            raise InputError("tokenizer_config.json sets auto_map: custom code, which is never run", where=where)
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        except Exception as error:  # transformers raises whatever it meets in a foreign folder
            raise InputError(f"the tokenizer cannot be loaded: {error}", where=where) from error
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise InputError(
                "not a fast tokenizer", where=where, got=type(tokenizer).__name__, expected="tokenizer.json"
            )
        _check_eos_is_real(folder, tokenizer, settings, where)
        return cls(tokenizer, where=where)

    @property
    def chat_template(self) -> str | None:
        """The tokenizer's chat template in Jinja; of several the one called ``default``. It is saved with it."""
        template: Any = self._tokenizer.chat_template
        return template.get("default") if isinstance(template, dict) else template

    @chat_template.setter
    def chat_template(self, source: str) -> None:
        self._tokenizer.chat_template = source

    @property
    def wrapped(self) -> PreTrainedTokenizerFast:
        """The tokenizer as transformers has it, to render chat templates with."""
        return self._tokenizer

    @property
    def backend_json(self) -> str:
        """The tokenizer as JSON of the package ``tokenizers``."""
        return self._tokenizer.backend_tokenizer.to_str()

    def apply_chat_template(self, source: str, turns: Sequence[Turn]) -> list[int]:
        """Return the ids that transformers gives a conversation, of which anything may be a special token."""
        said = [{"role": turn.role, "content": turn.content} for turn in turns]
        ids: Any = cast("Any", self._tokenizer).apply_chat_template(
            said, chat_template=source, tokenize=True, return_dict=False
        )
        return list(ids)

    def save(self, folder: Path | str) -> None:
        """Write everything :meth:`load` needs, with the digest unchanged."""
        self._tokenizer.save_pretrained(folder)

    def prompt(self, text: str) -> list[int]:
        """Return the ids of a prompt: BOS first where that is the tokenizer's convention, then the text."""
        return self.prompts([text])[0]

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of several prompts, as :meth:`prompt` does of each."""
        prefix = list(self._prefix)
        return [prefix + ids for ids in self.completions(texts)]

    def completion(self, text: str) -> list[int]:
        """Return the ids of a completion: no BOS, no EOS."""
        return self.completions([text])[0]

    def completions(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of several completions, as :meth:`completion` does of each."""
        return [encoding.ids for encoding in self._backend.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids without special tokens, stripped of white space at both ends."""
        return self.decode_batch([ids])[0]

    def decode_batch(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Return the text of several rows, as :meth:`decode` does of each."""
        plain = [[token for token in row if token not in self._special_ids] for row in rows]
        return [text.strip() for text in self._backend.decode_batch(plain, skip_special_tokens=True)]

    def pieces(self, ids: Sequence[int]) -> list[tuple[str, bool]]:
        """Return the text of ids as it is, cut at special tokens: each is a piece of its own, and says True."""
        found: list[tuple[str, bool]] = []
        for special, run in itertools.groupby(ids, lambda token: token in self._special_ids):
            if special:
                found += [(self._backend.id_to_token(token) or str(token), True) for token in run]
            else:
                found.append((self._backend.decode(list(run), skip_special_tokens=False), False))
        return found

    def decode_exact(self, ids: Sequence[int]) -> str:
        """Return the text of ids without special tokens, as it is."""
        plain = [token for token in ids if token not in self._special_ids]
        return str(self._backend.decode(plain, skip_special_tokens=True))

    def name(self, token: int) -> str:
        """Return what a token is called in the vocabulary."""
        return self._backend.id_to_token(token) or str(token)

    @property
    def added_tokens(self) -> dict[str, int]:
        """Tokens that were added to the vocabulary, special ones among them, by name."""
        return {token.content: number for number, token in self._backend.get_added_tokens_decoder().items()}

    def cut_left(self, text: str, tokens: int) -> str:
        """Return ``text`` without its first ``tokens`` tokens, cut between characters (so perhaps a little more)."""
        if tokens <= 0:
            return text
        offsets = self._backend.encode(text, add_special_tokens=False).offsets
        if tokens >= len(offsets):
            return ""
        end = offsets[tokens - 1][1]  # a token of a character's first byte already spans that character
        return text[max(end, 1) :]

    def _find_prefix(self) -> tuple[int, ...]:
        """Find what the tokenizer puts before a text from what it does, since its flags do not always say."""
        probe = "a"
        plain = self._backend.encode(probe, add_special_tokens=False).ids
        full = self._backend.encode(probe, add_special_tokens=True).ids
        for start in range(len(full) - len(plain) + 1):
            if full[start : start + len(plain)] == plain:
                return tuple(full[:start])
        return ()

    def _find_digest(self) -> str:
        content: dict[str, Any] = json.loads(self._backend.to_str())
        for name in ("post_processor", "padding", "truncation"):
            content.pop(name, None)  # what they do is the prefix, or is never used
        content["eos"], content["prefix"] = self.eos_id, list(self._prefix)
        return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _settings(folder: Path, where: str) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return {}
    try:
        settings = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"tokenizer_config.json cannot be read: {error}", where=where) from None
    if not isinstance(settings, dict):
        raise InputError("tokenizer_config.json is not a JSON object", where=where)
    return settings


def _check_eos_is_real(folder: Path, tokenizer: PreTrainedTokenizerFast, settings: dict[str, Any], where: str) -> None:
    """Refuse an EOS that only a class default added: the model has never seen it.

    transformers appends the default special tokens of a tokenizer class to a vocabulary that lacks them.
    """
    if tokenizer.eos_token_id is None:
        return  # the constructor says so
    tokens: set[str] = set()
    try:
        if (folder / "tokenizer.json").is_file():
            content = json.loads((folder / "tokenizer.json").read_text("utf-8"))
            vocabulary = content["model"]["vocab"]
            tokens |= set(vocabulary) if isinstance(vocabulary, dict) else {token for token, _ in vocabulary}
            tokens |= {token["content"] for token in content.get("added_tokens") or ()}
        elif (folder / "vocab.json").is_file():
            tokens |= set(json.loads((folder / "vocab.json").read_text("utf-8")))
        else:
            return
        if (folder / "added_tokens.json").is_file():
            tokens |= set(json.loads((folder / "added_tokens.json").read_text("utf-8")))
        tokens |= {token["content"] for token in (settings.get("added_tokens_decoder") or {}).values()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"the tokenizer's files cannot be read: {error}", where=where) from None
    if str(tokenizer.eos_token) not in tokens:
        raise InputError(
            "the tokenizer has no EOS token: its vocabulary lacks the one it names",
            where=where,
            got=str(tokenizer.eos_token),
            expected="eos_token in tokenizer_config.json and in the vocabulary",
        )
