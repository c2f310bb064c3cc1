"""The tokenizer and chat template of a plain target folder, without transformers."""

import json
import re
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Encoding, Tokenizer

from selfdraft.errors import StudyError
from selfdraft.files import read_json

Message = dict[str, str]
# Private-use characters: around what `{% generation %}` holds, and in place of an answer's text.
BEGIN, END = "\ue002", "\ue003"
MARKED = re.compile(f"[{BEGIN}{END}]")
GENERATION = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")


class TemplateError(StudyError):
    """The template refuses or changes one conversation; `reason` is how such conversations are counted."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class ChatTokenizer:
    """Text to token ids and back, and messages to text, for one target.

    `eos_ids` are the tokens that end an answer; `special_tokens` the strings that the tokenizer
    reads as one control token wherever they stand.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: str,
        template_tokens: dict[str, str],
        eos_ids: list[int],
        name: str = "chat template",
        today: datetime | None = None,
    ) -> None:
        """`today` fixes the date that some templates print; None means the day of the call."""
        self.tokenizer = tokenizer
        self.eos_ids = eos_ids
        self.name = name
        added = tokenizer.get_added_tokens_decoder().values()
        self.special_tokens = sorted(token.content for token in added if token.special)
        self._has_tag = bool(GENERATION.search(template))
        self._tokens = template_tokens
        self._template = compile_template(template, name, today)

    @cached_property
    def marks_answers(self) -> bool:
        """Whether the template marks answers itself: the tag stands in it, and not only in a comment."""
        if not self._has_tag:
            return False
        try:
            return bool(self.marked([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hi"}])[1])
        except TemplateError:
            return True

    @cached_property
    def lead(self) -> list[int]:
        """Tokens that the tokenizer itself puts before a text without template: Llama 3's, and none of SmolLM2."""
        plain, whole = self.encode("a"), list(self.tokenizer.encode("a", add_special_tokens=True).ids)
        begins = [start for start in range(len(whole)) if whole[start : start + len(plain)] == plain]
        return whole[: begins[0]] if begins else []

    @classmethod
    def from_folder(cls, folder: str | Path, today: datetime | None = None) -> "ChatTokenizer":
        """Read tokenizer.json, chat_template.jinja and the two small configs of a target folder.

        Raises StudyError naming the file that is missing or broken.
        """
        folder = Path(folder)
        tokenizer = read_tokenizer(folder / "tokenizer.json")
        template_path = folder / "chat_template.jinja"
        if not template_path.is_file():
            raise StudyError(
                f"{template_path}: file not found; the tokenizer has no chat template; "
                "the study needs a chat (instruct) model"
            )
        settings = read_json(folder / "tokenizer_config.json")
        tokens = {
            name: token_text(value)
            for name, value in settings.items()
            if name.endswith("_token") and value and isinstance(value, str | dict)
        }
        template = template_path.read_text(encoding="utf-8")
        chat = cls(tokenizer, template, tokens, [], name=str(template_path), today=today)
        chat.eos_ids = ends_of_answers(folder, chat, tokens.get("eos_token"))
        return chat

    def encode(self, text: str) -> list[int]:
        """Token ids of `text` as it stands: nothing is added, the template already names its tokens."""
        return list(self.encoding(text).ids)

    def encoding(self, text: str) -> Encoding:
        """Like `encode`, with `.offsets`: for each token its first and last character in `text`."""
        return self.tokenizer.encode(text, add_special_tokens=False)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        """Text of token ids; control tokens are written out unless skipped."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens))

    def render(self, messages: list[Message], add_generation_prompt: bool = False) -> str:
        """Text of a conversation as the target saw it in training.

        Byte-equal to transformers' `apply_chat_template(messages, tokenize=False)`. With
        `add_generation_prompt` the text ends where the answer would begin. Raises StudyError with
        the template's own words when it refuses the messages.
        """
        return self._rendered(messages, add_generation_prompt, marking=False)

    def marked(self, messages: list[Message]) -> tuple[str, list[tuple[int, int]]]:
        """The rendered conversation, and first and last + 1 character of each `{% generation %}` block in it.

        Raises TemplateError as `render`, and for texts that hold the marks themselves.
        """
        if any(MARKED.search(message["content"]) for message in messages):
            raise TemplateError(
                f"{self.name}: the private-use characters U+E002, U+E003", "holds private-use characters"
            )
        text, spans = "", []
        for number, piece in enumerate(MARKED.split(self._rendered(messages, False, marking=True))):
            if number % 2:
                spans.append((len(text), len(text) + len(piece)))
            text += piece
        return text, spans

    def turn_end(self) -> int | None:
        """The token that the template writes behind an answer, white space aside; None if there is none.

        One that was added to the vocabulary, be it marked as a control token or not.
        """
        chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": BEGIN}]
        try:
            behind = self.render(chat).rpartition(BEGIN)[2].lstrip()
        except StudyError:
            return None
        added = (token.content for token in self.tokenizer.get_added_tokens_decoder().values())
        ends = [token for token in added if behind.startswith(token)]
        found = max(ends, key=len, default="")
        number = self.tokenizer.token_to_id(found) if found and found != self._tokens.get("bos_token") else None
        return None if number is None else int(number)

    def _rendered(self, messages: list[Message], add_generation_prompt: bool, marking: bool) -> str:
        environment: Any = self._template.environment
        environment.marking = marking
        try:
            return self._template.render(
                messages=messages,
                tools=None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **self._tokens,
            )
        except (jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
            said = " ".join(str(error).split())
            raise TemplateError(
                f"{self.name}: refuses these messages: {said}", f"refused by the chat template ({said:.60})"
            ) from None


class Generation(Extension):
    """`{% generation %} … {% endgeneration %}`, as trainers write it around what the model itself is to say."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 wants it

    def parse(self, parser: Parser) -> nodes.Node:
        """The block's content, through `_mark`."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Any) -> str:
        environment: Any = self.environment
        return f"{BEGIN}{caller()}{END}" if environment.marking else str(caller())


def compile_template(template: str, name: str, today: datetime | None = None) -> jinja2.Template:
    """Compile a chat template in a sandbox with the helpers that transformers gives it."""

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    def to_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **options)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation]
    )
    environment.extend(marking=False)
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: (today or datetime.now()).strftime(form)
    try:
        return environment.from_string(template)
    except jinja2.TemplateSyntaxError as error:
        raise StudyError(f"{name}: line {error.lineno}: not a valid template ({error.message})") from None


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer.json. Raises StudyError if it is missing or broken."""
    if not path.is_file():
        raise StudyError(f"{path}: file not found; a target folder needs a tokenizer.json")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception
        raise StudyError(f"{path}: not a tokenizer ({error})") from None


def token_text(value: Any) -> str:
    """A token as tokenizer_config.json may hold it: a string, or an object with its `content`."""
    return str(value["content"]) if isinstance(value, dict) else str(value)


def ends_of_answers(folder: Path, chat: ChatTokenizer, eos_token: str | None) -> list[int]:
    """Ids that end an answer: what generation_config.json (else config.json) says, then the tokenizer's own
    end and the template's, where they are others: a base model's config names the end of documents alone.

    Raises StudyError if none of them names one.
    """
    ends: list[int] = []
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        value = read_json(path).get("eos_token_id") if path.is_file() else None
        if value is not None:
            ends = [value] if isinstance(value, int) else list(value)
            if not all(type(end) is int for end in ends):
                raise StudyError(f"{path}: eos_token_id: found {value!r}, a token id or a list of them is right")
            break
    more = (chat.tokenizer.token_to_id(eos_token) if eos_token else None, chat.turn_end())
    ends += [end for end in more if end is not None]
    if not ends:
        raise StudyError(f"{folder}/generation_config.json: eos_token_id: nothing found, expected a token id")
    return list(dict.fromkeys(ends))
