"""One JSON request to a server, with a deadline, sent again after what may pass; one line if not.

Knows nothing of what is asked: that is `openai.py`'s.
"""

import asyncio
import itertools
import os
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from pipeline.config import ServerConfig
from pipeline.errors import ConfigError, EngineError, UserError
from pipeline.progress import logger

PASSING = {408, 425, 429}  # and all that say that the server is at fault, from 500 on
HINTS = {
    401: " (encoder.server.key_variable names the variable that holds the key)",
    403: " (encoder.server.key_variable names the variable that holds the key)",
    404: " (check encoder.server.url, which ends in /v1, and encoder.model)",
}
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 60.0  # between two attempts; each waits twice as long
# A server that asks for more patience than this ends the step: a later run goes on.
PATIENCE_S = 600.0
QUOTED = 200  # characters of a server's own words in a message


@dataclass(frozen=True)
class Endpoint:
    """A URL to which JSON is posted, as `[encoder.server]` says."""

    url: str
    settings: ServerConfig
    _told: set[str] = field(default_factory=set)

    def client(self) -> httpx2.AsyncClient:
        """For one event loop; carries the API key. Raises ConfigError: there is none."""
        return httpx2.AsyncClient(
            headers=_authorization(self.settings.key_variable),
            limits=httpx2.Limits(max_connections=self.settings.concurrency),
            timeout=None,  # a deadline holds for the whole request, below
        )

    async def post(self, client: httpx2.AsyncClient, body: dict[str, Any]) -> httpx2.Response:
        """The answer to one request, of status 200.

        Raises
        ------
        UserError
            The server refuses.
        EngineError
            It asks for too much patience, or no attempt was answered.
        """
        for attempt in itertools.count():
            asked_to_wait = 0.0
            try:
                async with asyncio.timeout(self.settings.timeout_s):
                    response = await client.post(self.url, json=body)
            except TimeoutError:
                fault = f"no answer within {self.settings.timeout_s:g} s"
            except httpx2.RequestError as error:
                fault = f"{type(error).__name__}: {error}"
            else:
                if response.status_code == httpx2.codes.OK:
                    return response
                fault = f"answered {response.status_code}: {_words(response)}"
                if response.status_code not in PASSING and response.status_code < 500:
                    raise UserError(f"{self.url} {fault}{HINTS.get(response.status_code, '')}")
                asked_to_wait = retry_after(response)
            await self._pause(attempt, fault, asked_to_wait)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _pause(self, attempt: int, fault: str, asked_to_wait: float) -> None:
        """Wait before the next attempt. Raises EngineError if there is none."""
        impatient = asked_to_wait > PATIENCE_S
        if impatient or attempt == self.settings.retries:
            asks = f"; it asks to wait {asked_to_wait:,.0f} s" if impatient else ""
            raise EngineError(
                f"{self.url}: {fault} (attempt {attempt + 1} of {self.settings.retries + 1}){asks}."
                " What was committed stands: run it again to go on"
            )
        backoff = min(FIRST_WAIT_S * 2**attempt, LONGEST_WAIT_S)
        seconds = max(asked_to_wait, backoff * random.uniform(0.5, 1))  # noqa: S311
        if fault not in self._told:  # once, however many requests meet it
            self._told.add(fault)
            logger.warning("%s: %s; trying again in %.1f s", self.url, fault, seconds)
        await asyncio.sleep(seconds)


def retry_after(response: httpx2.Response) -> float:
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


def quoted(text: str) -> str:
    """Words of a server made safe for a message: no control characters, and not too many."""
    printable = "".join(c if c.isprintable() else " " for c in text[:QUOTED])
    return printable + "…" * (len(text) > QUOTED)


def _authorization(variable: str) -> dict[str, str]:
    if not variable:
        return {}
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"encoder.server.key_variable names {variable}, which is not set")
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(f"the API key in {variable} holds characters that no key has")
    return {"Authorization": f"Bearer {key}"}


def _words(response: httpx2.Response) -> str:
    """What the server says, in its own words."""
    try:
        said = response.json()
        said = said.get("error", said)
        return quoted(str(said.get("message") or said.get("detail") or said))
    except (ValueError, AttributeError):
        return quoted(response.text or response.reason_phrase)
