"""Text to vectors by a server that speaks OpenAI's `/v1/embeddings`: vLLM, TEI and others.

What the server computes cannot be seen from here: the configuration states it (docs/encoders.md).
"""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

import httpx2
import numpy as np
from numpy.typing import NDArray

from pipeline.config import EncoderConfig
from pipeline.digests import digest
from pipeline.encoders import Encoded, Encoder, Identity, cut_to_unit
from pipeline.encoders.http import Endpoint, quoted
from pipeline.errors import ConfigError, ContractError
from pipeline.progress import Progress, logger

# Tokens that a model adds to a text. A token of the text is a byte at least, so that a text
# of fewer bytes than `max_tokens` less these is not cut.
ADDED_TOKENS = 8

T = TypeVar("T")


class OpenAIEncoder:
    """A server behind the protocol of `Encoder`; `width` of its vectors 0: not known yet."""

    def __init__(self, config: EncoderConfig, width: int) -> None:
        self.config, self.server = config, config.server
        self.width, self.dim = width, config.dim or width
        self._endpoint = Endpoint(f"{config.server.url.rstrip('/')}/embeddings", config.server)

    def encode(self, texts: Sequence[str], progress: Progress) -> Encoded:
        """Embed the texts, so many requests at a time; see `Encoder`.

        Raises
        ------
        UserError
            The server refuses.
        EngineError
            It still does not answer after all attempts.
        ContractError
            It answers something else than one vector a text.
        """
        try:
            return _run(self._encode(texts, progress))
        except ExceptionGroup as group:  # the first failure ended the others
            raise group.exceptions[0] from None

    def ask_width(self) -> int:
        """Length of the vectors that the server gives."""

        async def ask() -> int:
            async with self._endpoint.client() as client:
                return len((await self._ask(client, ["text"]))[0][0])

        return _run(ask())

    async def _encode(self, texts: Sequence[str], progress: Progress) -> Encoded:
        prompted = [self.config.prompt + text for text in texts]
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        requests = self._requests(prompted)
        cut = 0

        async def send(client: httpx2.AsyncClient) -> None:
            nonlocal cut
            for rows in requests:
                vectors[rows], tokens = await self._ask(client, [prompted[row] for row in rows])
                cut += self._cuts(prompted[rows[0]]) and tokens >= self.config.max_tokens
                progress.update(len(rows))

        async with self._endpoint.client() as client, asyncio.TaskGroup() as group:
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

    async def _ask(
        self, client: httpx2.AsyncClient, texts: list[str]
    ) -> tuple[NDArray[np.float32], int]:
        """Unit vectors of the texts, in their order, and how many tokens were read."""
        body: dict[str, Any] = {"model": self.config.model, "input": texts}
        body["encoding_format"] = "float"
        if self.server.truncate:
            body["truncate_prompt_tokens"] = self.config.max_tokens
        return self._read(await self._endpoint.post(client, body), len(texts))

    def _read(self, response: httpx2.Response, count: int) -> tuple[NDArray[np.float32], int]:
        try:
            answer = response.json()
            given = answer["data"]
            rows = {int(row["index"]): row["embedding"] for row in given}
            if len(given) != count or rows.keys() != {*range(count)}:
                raise ContractError(
                    f"{self._endpoint.url} answered {count} texts with {len(given)} vectors, of "
                    f"{len(rows)} of them; nothing of it was stored"
                )
            vectors = np.array([rows[i] for i in range(count)], dtype=np.float32)
            width = vectors.shape[1]
            tokens = int((answer.get("usage") or {}).get("prompt_tokens") or 0)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise ContractError(
                f"{self._endpoint.url}: the answer is not that of OpenAI's /v1/embeddings "
                f"({type(error).__name__}: {quoted(str(error))})"
            ) from None
        if self.width and width != self.width:
            raise ContractError(
                f"{self._endpoint.url} gave vectors of {width} numbers, wanted {self.width}: "
                "check encoder.model and encoder.server.dim"
            )
        return cut_to_unit(vectors, self.dim or width), tokens


@contextmanager
def load(config: EncoderConfig) -> Iterator[Encoder]:
    """Context of an encoder that asks the server."""
    yield OpenAIEncoder(config, _width(config))


def identify(config: EncoderConfig) -> Identity:
    """What the configuration states of the server; asks it for nothing but an unstated dimension.

    The address does not count: the same model may move.
    """
    width = _width(config)
    if config.dim > width:
        raise ConfigError(f"encoder.dim is {config.dim}, but {config.model} gives {width} values")
    stated = {"revision": config.server.revision, "truncate": config.server.truncate}
    return Identity(
        name=config.model,
        revision=digest(stated, 64),
        pooling="served",
        dim=config.dim or width,
        dtype="float32",
        engines={},
    )


def _width(config: EncoderConfig) -> int:
    return config.server.dim or _asked_width(config.model_dump_json(exclude={"dim"}))


@lru_cache
def _asked_width(settings: str) -> int:
    config = EncoderConfig.model_validate_json(settings)
    found = OpenAIEncoder(config, width=0).ask_width()
    logger.info("%s: %d dimensions (not asked if encoder.server.dim is set)", config.model, found)
    return found


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Result of the coroutine; in a thread aside where a loop runs already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as aside:
        return aside.submit(asyncio.run, work).result()
