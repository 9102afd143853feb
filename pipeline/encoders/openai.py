"""Text to vectors by a server that speaks OpenAI's `/v1/embeddings`: vLLM, TEI and others.

Requests in flight are bounded, each has a deadline, and one that met a passing fault is sent again.
What the server computes cannot be seen from here: the configuration states it (docs/encoders.md).
"""

import asyncio
import itertools
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any

import httpx2
import numpy as np
from numpy.typing import NDArray

from pipeline.config import EncoderConfig
from pipeline.digests import digest
from pipeline.encoders import Encoded, Encoder, Identity
from pipeline.errors import ConfigError, ContractError, UserError
from pipeline.progress import Progress, logger

PASSING = {408, 425, 429, 500, 502, 503, 504, 529}
HINTS = {
    401: " (encoder.server.key_variable names the variable that holds the key)",
    403: " (encoder.server.key_variable names the variable that holds the key)",
    404: " (check encoder.server.url, which ends in /v1, and encoder.model)",
}
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0  # between two attempts; each waits twice as long
# A server that asks for more patience than this ends the step: a later run goes on.
PATIENCE_S = 600.0
# Tokens that a model adds to a text. A token of the text is a byte at least, so that a text
# of fewer bytes than `max_tokens` less these is not cut.
ADDED_TOKENS = 8
QUOTED = 200  # characters of a server's own words in a message


class OpenAIEncoder:
    """A server behind the protocol of `Encoder`. `dim` None: not known yet."""

    def __init__(self, config: EncoderConfig, dim: int | None = None) -> None:
        self.config, self.server = config, config.server
        self._dim = dim
        self._url = f"{config.server.url.rstrip('/')}/embeddings"
        self._headers = _authorization(config.server.key_variable)
        self._told: set[str] = set()

    @property
    def dim(self) -> int:
        """Length of a vector."""
        assert self._dim
        return self._dim

    def encode(self, texts: Sequence[str], progress: Progress) -> Encoded:
        """Embed the texts; see `Encoder`.

        Raises
        ------
        UserError
            The server refuses, or still does not answer after all attempts.
        ContractError
            It answers something else than one vector a text.
        """
        try:
            return asyncio.run(self._encode(texts, progress))
        except ExceptionGroup as group:  # the first failure ended the others
            raise group.exceptions[0] from None

    def ask_dimension(self) -> int:
        """Length of the vector of some text."""

        async def ask() -> int:
            async with self._client() as client:
                return len((await self._ask(client, ["text"]))[0][0])

        return asyncio.run(ask())

    async def _encode(self, texts: Sequence[str], progress: Progress) -> Encoded:
        prompted = [self.config.prompt + text for text in texts]
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        requests = iter(self._requests(prompted))
        cut = 0

        async def send(client: httpx2.AsyncClient) -> None:
            nonlocal cut
            for rows in requests:
                vectors[rows], tokens = await self._ask(client, [prompted[row] for row in rows])
                cut += self._cuts(prompted[rows[0]]) and tokens >= self.config.max_tokens
                progress.update(len(rows))

        async with self._client() as client, asyncio.TaskGroup() as group:
            for _ in range(self.server.concurrency):
                group.create_task(send(client))
        return Encoded(vectors, cut)

    def _requests(self, texts: list[str]) -> Iterator[list[int]]:
        """Rows of each request. A text that may be cut goes alone: the answer counts its tokens."""
        alone = [row for row, text in enumerate(texts) if self._cuts(text)]
        yield from ([row] for row in alone)
        together = sorted({*range(len(texts))} - {*alone})
        for start in range(0, len(together), self.server.batch_texts):
            yield together[start : start + self.server.batch_texts]

    def _cuts(self, text: str) -> bool:
        """True if the server may cut the text because we ask it to."""
        surely_fit = self.config.max_tokens - ADDED_TOKENS
        return self.server.truncate and len(text.encode()) > surely_fit

    def _client(self) -> httpx2.AsyncClient:
        limits = httpx2.Limits(max_connections=self.server.concurrency)
        return httpx2.AsyncClient(headers=self._headers, limits=limits, timeout=None)

    async def _ask(
        self, client: httpx2.AsyncClient, texts: list[str]
    ) -> tuple[NDArray[np.float32], int]:
        """Unit vectors of the texts, in their order, and how many tokens were read."""
        body: dict[str, Any] = {"model": self.config.model, "input": texts}
        body["encoding_format"] = "float"
        if self.server.truncate:
            body["truncate_prompt_tokens"] = self.config.max_tokens
        for attempt in itertools.count():
            asked_to_wait = 0.0
            try:
                async with asyncio.timeout(self.server.timeout_s):
                    response = await client.post(self._url, json=body)
            except TimeoutError:
                fault = f"no answer within {self.server.timeout_s:g} s"
            except httpx2.RequestError as error:
                fault = f"{type(error).__name__}: {error}"
            else:
                if response.status_code == httpx2.codes.OK:
                    return self._read(response, len(texts))
                fault = f"answered {response.status_code}: {_words(response)}"
                if response.status_code not in PASSING:
                    hint = HINTS.get(response.status_code, "")
                    raise UserError(f"{self._url} {fault}{hint}")
                asked_to_wait = _retry_after(response)
            await self._pause(attempt, fault, asked_to_wait)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _pause(self, attempt: int, fault: str, asked_to_wait: float) -> None:
        """Wait before the next attempt. Raises UserError if there is none."""
        if asked_to_wait > PATIENCE_S or attempt == self.server.retries:
            asks = f"; it asks to wait {asked_to_wait:,.0f} s" if asked_to_wait > PATIENCE_S else ""
            raise UserError(
                f"{self._url}: {fault} (attempt {attempt + 1} of {self.server.retries + 1}){asks}. "
                "What was committed stands: run it again to go on"
            )
        backoff = min(FIRST_WAIT_S * 2**attempt, LONGEST_WAIT_S)
        seconds = max(asked_to_wait, backoff * random.uniform(0.5, 1))  # noqa: S311
        if fault not in self._told:  # once, however many requests meet it
            self._told.add(fault)
            logger.warning("%s: %s; trying again in %.1f s", self._url, fault, seconds)
        await asyncio.sleep(seconds)

    def _read(self, response: httpx2.Response, count: int) -> tuple[NDArray[np.float32], int]:
        try:
            answer = response.json()
            rows = {int(row["index"]): row["embedding"] for row in answer["data"]}
            if len(answer["data"]) != count or rows.keys() != {*range(count)}:
                raise ContractError(
                    f"{self._url} answered {count} texts with {len(answer['data'])} vectors, of "
                    f"{len(rows)} of them; nothing of it was stored"
                )
            vectors = np.array([rows[i] for i in range(count)], dtype=np.float32)
            width = self._dim or vectors.shape[1]
            tokens = int((answer.get("usage") or {}).get("prompt_tokens") or 0)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise ContractError(
                f"{self._url}: the answer is not that of OpenAI's /v1/embeddings "
                f"({type(error).__name__}: {_cut(str(error))})"
            ) from None
        if vectors.shape[1] != width:
            raise ContractError(
                f"{self._url} gave vectors of {vectors.shape[1]} numbers, wanted {width}: "
                "check encoder.model and encoder.server.dim"
            )
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.divide(vectors, lengths, out=vectors, where=lengths > 0), tokens


@contextmanager
def load(config: EncoderConfig) -> Iterator[Encoder]:
    """Context of an encoder that asks the server."""
    yield OpenAIEncoder(config, identify(config).dim)


def identify(config: EncoderConfig) -> Identity:
    """What the configuration states of the server; asks it for nothing but an unstated dimension.

    The address does not count: the same model may move.
    """
    stated = {"revision": config.server.revision, "truncate": config.server.truncate}
    return Identity(
        name=config.model,
        revision=digest(stated, 64),
        pooling="served",
        dim=config.server.dim or _asked_dimension(config.model_dump_json()),
        dtype="float32",
        engines={},
    )


@lru_cache
def _asked_dimension(settings: str) -> int:
    config = EncoderConfig.model_validate_json(settings)
    found = OpenAIEncoder(config).ask_dimension()
    logger.info("%s: %d dimensions (not asked if encoder.server.dim is set)", config.model, found)
    return found


def _authorization(variable: str) -> dict[str, str]:
    if not variable:
        return {}
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"encoder.server.key_variable names {variable}, which is not set")
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"the API key in {variable} holds characters that no key has")
    return {"Authorization": f"Bearer {key}"}


def _retry_after(response: httpx2.Response) -> float:
    """Seconds that the header `Retry-After` asks for: a number, or a date."""
    asked = response.headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(asked))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(asked)
    except ValueError:
        return 0.0
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def _words(response: httpx2.Response) -> str:
    """What the server says, in its own words."""
    try:
        said = response.json()
        said = said.get("error", said)
        return _cut(str(said.get("message") or said.get("detail") or said))
    except (ValueError, AttributeError):
        return _cut(response.text or response.reason_phrase)


def _cut(text: str) -> str:
    printable = "".join(c if c.isprintable() else " " for c in text[:QUOTED])
    return printable + "…" * (len(text) > QUOTED)
