"""The server backend against a server that fails in every way: it goes on, or says so in a line."""

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from pipeline import cli as command_line
from pipeline import encoders
from pipeline.config import EncoderConfig
from pipeline.configuration import load
from pipeline.encoders import Encoded, http
from pipeline.errors import ConfigError, ContractError, EngineError, UserError
from tests.encoders import embedding_server as faults
from tests.encoders.embedding_server import DIM, Faulty, answer, faulty_server, status, unit

TEXTS = [f"title {k}" for k in range(10)]


@pytest.fixture
def server() -> Iterator[Faulty]:
    with faulty_server() as server:
        yield server


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "FIRST_WAIT_S", 0.01)


def config_of(server: Faulty, **settings: Any) -> EncoderConfig:
    encoder = {k: settings.pop(k) for k in ("prompt", "max_tokens") if k in settings}
    given = {"url": server.url, "revision": "r1", "dim": DIM, "batch_texts": 4} | settings
    return EncoderConfig.model_validate(
        {"backend": "openai", "model": "org/some-model", "server": given} | encoder
    )


class Counter:
    done = 0

    def update(self, n: int) -> None:
        self.done += n


def encode(config: EncoderConfig, texts: list[str] = TEXTS) -> Encoded:
    counter = Counter()
    with encoders.load(config) as encoder:
        found = encoder.encode(texts, counter)
    assert counter.done == len(texts)
    return found


def assert_right(found: Encoded, texts: list[str] = TEXTS) -> None:
    np.testing.assert_allclose(found.vectors, [unit(text) for text in texts], atol=1e-6)
    assert found.vectors.dtype == np.float32


def test_vectors_stand_in_the_order_of_the_texts_whatever_the_order_of_the_answer(server):
    assert_right(encode(config_of(server)))
    assert sorted(len(body["input"]) for body in server.bodies) == [2, 4, 4]
    assert {body["model"] for body in server.bodies} == {"org/some-model"}


def test_a_notebook_whose_loop_runs_already_can_embed_too(server):
    async def cell() -> Encoded:
        return encode(config_of(server))

    assert_right(asyncio.run(cell()))


@pytest.fixture
def interruptible() -> Iterator[None]:
    """What a shell starts in the background ignores interrupts; this test run may be."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_ends_all_requests_at_once(server):
    server.delay = 5
    waiting = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    waiting.start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        encode(config_of(server))
    assert time.monotonic() - start < 4


def test_no_more_requests_are_in_flight_than_allowed(server):
    server.delay = 0.05
    encode(config_of(server, batch_texts=1, concurrency=3))
    assert server.busiest == 3


@pytest.mark.parametrize(
    "fault",
    [
        status(429),
        status(500),
        status(503),
        status(524),
        faults.hang_up,
        faults.dripping,
        lambda handler, body: handler.reply(502, b"<html>Bad gateway</html>"),
    ],
    ids=["429", "500", "503", "524", "hung up", "slower than the deadline", "a proxy's page"],
)
def test_a_passing_fault_is_tried_again(server, fault, caplog):
    server.faults += [fault, fault]
    assert_right(encode(config_of(server, timeout_s=0.5)))
    assert len(server.bodies) == 3 + 2
    assert any("trying again" in line for line in caplog.messages)


def test_the_server_is_given_the_time_it_asks_for(server):
    server.faults.append(status(429, retry_after="1"))
    encode(config_of(server, batch_texts=10))
    assert server.times[1] - server.times[0] >= 0.99


def test_the_server_is_left_alone_until_the_date_it_names(server):
    then = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2)
    server.faults.append(status(503, retry_after=format_datetime(then, usegmt=True)))
    encode(config_of(server, batch_texts=10))
    assert server.times[1] >= then.timestamp() - 0.01


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("Mon, 01 Jan 2001 00:00:00 GMT", 0), ("-1", 0), ("nan", 0), ("soon", 0), ("7", 7)],
)
def test_what_retry_after_may_say(said, seconds):
    import httpx2

    assert http.retry_after(httpx2.Response(429, headers={"retry-after": said})) == seconds


def test_a_server_that_asks_for_an_hour_ends_the_step(server):
    server.faults.append(status(429, "quota", retry_after="3600"))
    with pytest.raises(
        EngineError, match=r"answered 429: quota .*asks to wait 3,600 s.*run it again"
    ):
        encode(config_of(server))


def test_attempts_come_to_an_end_in_one_line(server):
    server.faults += [status(503, "model is\n\x1b[31m loading")] * 99
    with pytest.raises(EngineError) as ended:
        encode(config_of(server, retries=2, concurrency=1))
    said = str(ended.value)
    assert "/v1/embeddings: answered 503: model is" in said
    assert "(attempt 3 of 3)" in said
    assert said.isprintable()
    assert len(server.bodies) == 3


def test_nobody_listening_is_one_line(server):
    config = config_of(server, retries=1)
    server.server_close()
    with pytest.raises(EngineError, match=r"ConnectError: .*attempt 2 of 2.*run it again"):
        encode(config)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (400, r"answered 400: maximum context length$"),
        (401, r"answered 401: .*key_variable names the variable"),
        (404, r"answered 404: .*check encoder\.server\.url, which ends in /v1"),
        (307, r"answered 307: "),
    ],
)
def test_a_refusal_is_final(server, code, says):
    server.faults.append(status(code, "maximum context length", location="http://elsewhere"))
    with pytest.raises(UserError, match=says):
        encode(config_of(server, concurrency=1))
    assert len(server.bodies) == 1


def spoiled(**changes: Any) -> dict[str, Any]:
    found = answer(TEXTS[:4], 8)
    found["data"][0] |= changes
    return found


@pytest.mark.parametrize(
    ("said", "says"),
    [
        (b"not json", r"is not that of OpenAI's /v1/embeddings \(JSONDecodeError"),
        ({"data": None}, r"is not that of OpenAI's"),
        ([], r"is not that of OpenAI's"),
        ({"data": []}, r"answered 4 texts with 0 vectors"),
        (answer(TEXTS[:5], 9), r"answered 4 texts with 5 vectors"),
        (spoiled(index=0), r"answered 4 texts with 4 vectors, of 3 of them"),
        (spoiled(index=-1), r"answered 4 texts with 4 vectors"),
        (spoiled(embedding=[1.0]), r"is not that of OpenAI's"),
        (spoiled(embedding="AAAA"), r"is not that of OpenAI's"),
    ],
)
def test_an_answer_that_is_none_is_never_stored(server, said, says):
    server.faults.append(faults.content(said))
    with pytest.raises(ContractError, match=says):
        encode(config_of(server, concurrency=1))


def test_another_dimension_than_the_stated_one_is_refused(server):
    with pytest.raises(ContractError, match="vectors of 8 numbers, wanted 9"):
        encode(config_of(server, dim=9))


def test_a_number_that_is_none_reaches_the_check_of_the_step(server):
    for broken in (None, float("nan")):
        server.faults.append(faults.content(spoiled(embedding=[broken] * DIM)))
        found = encode(config_of(server), TEXTS[:4])
        assert np.isnan(found.vectors).all(axis=1).tolist() == [False, False, False, True]


def test_an_unstated_dimension_is_asked_for_once(server):
    config = config_of(server, dim=0)
    assert encoders.dimension(encoders.encoder_id(config)) == DIM
    assert len(server.bodies) == 1
    assert_right(encode(config))
    assert len(server.bodies) == 1 + 3


def test_leading_values_are_kept_and_made_a_unit_vector(server):
    config = config_of(server).model_copy(update={"dim": 3})
    found = encode(config)
    wanted = np.array([unit(text)[:3] for text in TEXTS])
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(found.vectors, wanted, atol=1e-6)
    assert encoders.dimension(encoders.encoder_id(config)) == 3
    with pytest.raises(ConfigError, match=r"encoder\.dim is 9, but org/some-model gives 8 values"):
        encoders.encoder_id(config.model_copy(update={"dim": 9}))


def test_what_is_cut_is_counted_and_what_is_not_asked_for_is_not_sent(server):
    texts = ["red " * 8, "red " * 9, "red " * 40, "short"]
    found = encode(config_of(server, max_tokens=9), texts)
    assert found.truncated == 2  # nine tokens may be the whole text, or the beginning of one
    assert {body["truncate_prompt_tokens"] for body in server.bodies} == {9}
    np.testing.assert_allclose(found.vectors[2], unit(" ".join(["red"] * 9)), atol=1e-6)
    server.bodies.clear()
    assert encode(config_of(server, max_tokens=9, truncate=False), texts).truncated == 0
    assert all("truncate_prompt_tokens" not in body for body in server.bodies)
    assert len(server.bodies) == 1


def test_the_prompt_stands_before_each_text(server):
    found = encode(config_of(server, prompt="title: "), ["a", "b"])
    assert_right(found, ["title: a", "title: b"])


def test_the_key_comes_from_the_environment_and_goes_nowhere_else(
    server, monkeypatch, tmp_path, caplog
):
    monkeypatch.setenv("EMBEDDINGS_KEY", "sk-secret")
    caplog.set_level(logging.DEBUG)
    config = config_of(server, key_variable="EMBEDDINGS_KEY", concurrency=1, retries=0)
    server.faults += [status(429)]
    with pytest.raises(EngineError) as ended:
        encode(config)
    encode(config)
    assert set(server.keys) == {"Bearer sk-secret"}
    file = tmp_path / "iadsr.toml"
    file.write_text(
        f'[encoder]\nbackend = "openai"\nmodel = "org/m"\n[encoder.server]\nurl = "{server.url}"\n'
        'revision = "r1"\nkey_variable = "EMBEDDINGS_KEY"\n'
    )
    shown = CliRunner().invoke(command_line.cli, ["--config", str(file), "config", "show"])
    assert "encoder.server.key_variable = 'EMBEDDINGS_KEY'" in shown.output
    assert "encoder.model = 'org/m'" in shown.output  # a name, no path
    said = [shown.output, str(ended.value), repr(config), encoders.encoder_id(config), caplog.text]
    assert not any("sk-secret" in text for text in said)


@pytest.mark.parametrize(
    ("value", "says"),
    [(None, "names EMBEDDINGS_KEY, which is not set"), ("schlüssel", "characters that no key has")],
)
def test_a_key_that_cannot_be_is_one_line(server, monkeypatch, value, says):
    if value:
        monkeypatch.setenv("EMBEDDINGS_KEY", value)
    with pytest.raises(ConfigError, match=says) as ended:
        encode(config_of(server, key_variable="EMBEDDINGS_KEY"))
    assert "schl" not in str(ended.value)
    assert server.bodies == []


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ('revision = "r"', "server.url is not set"),
        ('url = "http://h/v1"', "server.revision is not set"),
        ('url = "http://u:sk-secret@h/v1"\nrevision = "r"', "without a password or a query"),
        ('url = "http://h/v1?key=sk-secret"\nrevision = "r"', "without a password or a query"),
        ('url = "h:8000/v1"\nrevision = "r"', "url is none of an API"),
        ('url = "http://h/v1"\nrevision = "r"\nkey_variable = "sk-secret"', "no name of an env"),
        ('url = "http://h/v1"\nrevision = "r"\napi_key = "sk-secret"', "unknown key"),
    ],
)
def test_a_wrong_server_section_is_one_line_without_secrets(tmp_path, lines, says):
    file = tmp_path / "iadsr.toml"
    file.write_text(f'[encoder]\nbackend = "openai"\n[encoder.server]\n{lines}\n')
    with pytest.raises(ConfigError, match=says) as ended:
        load(file, {})
    assert "sk-secret" not in str(ended.value)


@pytest.mark.parametrize("change", [{"pooling": "last"}, {"dtype": "bfloat16"}])
def test_what_only_the_server_can_change_is_refused(change):
    server = {"url": "http://h/v1", "revision": "r"}
    with pytest.raises(ValidationError, match="pooling and dtype are the server's own"):
        EncoderConfig.model_validate({"backend": "openai", "server": server} | change)


def test_the_name_follows_what_is_stated_and_not_the_address(server):
    config = config_of(server)
    name = encoders.encoder_id(config)
    assert name.startswith("org-some-model-served-8-float32-")
    moved = config.server.model_copy(update={"url": "http://h/v1", "concurrency": 1})
    assert encoders.encoder_id(config.model_copy(update={"server": moved})) == name
    assert server.bodies == []
    for change in ({"revision": "r2"}, {"dim": 9}, {"truncate": False}, {"prompt": "x"}):
        assert encoders.encoder_id(config_of(server, **change)) != name, change
