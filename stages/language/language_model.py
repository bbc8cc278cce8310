"""Edits that a language model chooses, behind an OpenAI-compatible endpoint, among those that the rules allow.

An answer is kept under a digest of what was asked, so that a rerun asks nothing. The key, if the endpoint wants one, is read
from the environment and goes nowhere but into the request's header.
"""

import os
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import httpx
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from stages.common.text import one_line
from stages.core.errors import InputError
from stages.core.files import read_written, value_digest, write_json
from stages.core.params import LanguageModel
from stages.language.mutation import Dropped, Mutation, PossibleEdits, find_edits
from stages.language.rules import Rules

KEY = "IEDIT_LLM_KEY"
TRIES, PAUSE = 4, 1.0  # and seconds before the second try, doubled before each further one
LONGEST_PAUSE = 60.0  # seconds that an endpoint may ask for
MOST_BYTES = 1_000_000  # of an answer
MOST_TOKENS = 200  # of an answer; a caption has fewer
PASSING = frozenset([408, 425, 429, 500, 502, 503, 504])  # statuses that another try may mend

INSTRUCTIONS = """You edit captions of photographs. Below the caption stand the words that may change, each with the words
that may take its place, in the singular. Change exactly one of them, so that the new caption describes a photograph that
could have been taken. Keep all other words, the number and the grammar; adapt a or an. Answer with the new caption alone, on
one line."""


class Refused(StrEnum):
    """Why a model's answer is no edit."""

    MALFORMED = "the endpoint's answer is not a chat completion"
    NOT_ONE_LINE = "the model's answer is not one line"
    UNCHANGED = "the model left the caption as it was"
    NOT_ALLOWED = "the model's answer is not an edit that the rules allow"


class _Message(BaseModel):
    content: str


class _Choice(BaseModel):
    message: _Message


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)


@dataclass(frozen=True, kw_only=True)
class Proposer:
    """Asks a model which of a caption's possible edits to make."""

    config: LanguageModel
    rules: Rules
    folder: Path  # where answers are kept

    def edit(self, caption: str, seed: int) -> Mutation | Dropped | Refused:
        """Return the model's edit of a caption, or why there is none; without a possible edit nothing is asked.

        Args:
            caption: one sentence or phrase, on one line.
            seed: sent to the model.

        Raises:
            InputError: the endpoint cannot be used: it does not answer, or refuses the request.
        """
        possible = find_edits(caption, self.rules)
        if isinstance(possible, Dropped):
            return possible
        answer = self._answer(
            {
                "model": self.config.model,
                "messages": [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": _task(possible)}],
                "seed": seed % 2**31,
                "max_tokens": MOST_TOKENS,
            }
        )
        return Refused.MALFORMED if answer is None else check(answer, possible)

    def _answer(self, question: dict[str, Any]) -> str | None:
        """Return the words that are kept, or else asked for, as the answer to a question; see :func:`_ask`."""
        digest = value_digest(question)
        path = self.folder / digest[:2] / f"{digest}.json"
        if path.is_file():
            return read_written(path, TypeAdapter(str).validate_json)
        answer = _ask(self.config, question)
        if answer is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, answer)
        return answer


def check(answer: str, possible: PossibleEdits) -> Mutation | Refused:
    """Return which of a caption's possible edits an answer is, or why it is none.

    Quotes around it and capitals do not count.
    """
    prompt = _plain(answer)
    if not prompt or len(answer.strip().splitlines()) != 1:
        return Refused.NOT_ONE_LINE
    if prompt == _plain(possible.caption):
        return Refused.UNCHANGED
    return next((edit for edit in possible.all_edits() if _plain(edit.edit_prompt) == prompt), Refused.NOT_ALLOWED)


def _plain(text: str) -> str:
    return one_line(text).strip(" \"'`").lower()


def _task(possible: PossibleEdits) -> str:
    """Return a caption and, on a line each, its words that may change with those that may take their place."""
    edits = sorted({**possible.noun_edits, **possible.adjective_edits}.items())
    return "\n".join([possible.caption, *(f"{possible.units[place].word}: {', '.join(words)}" for place, words in edits)])


def _ask(config: LanguageModel, question: dict[str, Any]) -> str | None:
    """Return the model's words; None if the endpoint answers with something else.

    Raises:
        InputError: no try succeeded, or the address or the key cannot be used.
    """
    headers = _headers()
    reason, pause = "", PAUSE
    for attempt in range(TRIES):
        if attempt:
            time.sleep(pause)
            pause *= 2
        try:
            status, body, wait = _post(f"{str(config.url).rstrip('/')}/chat/completions", question, headers, config.timeout)
        except (httpx.InvalidURL, UnicodeError) as error:  # the latter: a malformed international name
            raise InputError(f"mutate.llm.url = {config.url!r}: no address of http or https") from error
        except httpx.HTTPError as error:
            reason = f"no answer ({type(error).__name__})"
            continue
        if status == httpx.codes.OK:
            return _words(body)
        reason = f"status {status}"
        if status not in PASSING:
            break
        pause = max(pause, wait)
    raise InputError(f"mutate.llm.url = {config.url!r}: {reason}; the key, if it wants one, is read from {KEY}")


def _headers() -> dict[str, str]:
    """Return the request's headers: nothing compressed, so that a short answer cannot grow when it is read; and the key.

    Raises:
        InputError: the key cannot stand in a header; it is not named.
    """
    key = os.environ.get(KEY, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise InputError(f"{KEY}: a key consists of printable ASCII characters")
    return {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {})


def _post(url: str, question: dict[str, Any], headers: dict[str, str], timeout: float) -> tuple[int, bytes, float]:
    """Return the status, the body (cut where it is too long to be read) and the seconds that the endpoint asks to wait.

    Redirects are not followed: the key is for this address alone.

    Raises:
        httpx.HTTPError: it does not answer in time, or not by HTTP.
    """
    deadline = time.monotonic() + timeout
    body = bytearray()
    with httpx.stream("POST", url, json=question, headers=headers, timeout=timeout) as response:
        for part in response.iter_raw():
            body += part
            if len(body) > MOST_BYTES:
                break
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout("the answer takes too long")
        wait = response.headers.get("Retry-After", "")
    return response.status_code, bytes(body), min(float(wait), LONGEST_PAUSE) if wait.isdecimal() else 0.0


def _words(body: bytes) -> str | None:
    if len(body) > MOST_BYTES:
        return None
    try:
        return _Completion.model_validate_json(body).choices[0].message.content
    except ValidationError:
        return None
