"""User ids as keyed hashes: no id of a source reaches the lake, and people still ask by it."""

import hmac
from hashlib import sha256
from pathlib import Path

import polars as pl
import pytest

from pipeline.config import Config
from pipeline.errors import ConfigError
from pipeline.schemas import INTERACTIONS, QUARANTINE, SCORED_INTERACTIONS
from pipeline.steps import erase as erasing
from pipeline.steps.embed import embed
from pipeline.steps.explain import explain
from pipeline.steps.ingest import ingest
from pipeline.steps.night import run_night
from pipeline.steps.promote import promote
from pipeline.steps.train import train
from pipeline.storage.lake import Lake
from pipeline.storage.privacy import user_ids
from tests.conftest import NIGHT, TRAINED, Workspace, copy_workspace
from tests.small_lake import USERS, fill, log, settings

KEY = "0123456789abcdef" * 4


def hashed(user: str) -> str:
    return hmac.new(KEY.encode(), user.encode(), sha256).hexdigest()[:32]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("USERS_KEY", KEY)
    log(tmp_path / "log.csv")
    return settings(tmp_path, str(tmp_path / "lake"), hash_users=True, key_variable="USERS_KEY")


def test_no_id_of_the_source_and_no_key_reaches_the_lake(config, tmp_path):
    lake = Lake(config.lake.path)
    fill(config, lake)
    users = lake.scan(INTERACTIONS).collect()["user_id"].unique().to_list()
    assert sorted(users) == sorted(hashed(user) for user in USERS)
    for file in (tmp_path / "lake").rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert b"ann-marie" not in content, file
            assert KEY.encode() not in content, file


def test_a_rejected_row_keeps_its_fields_and_not_the_id(config):
    lake = Lake(config.lake.path)
    ingest(config, lake)
    rows = lake.scan(QUARANTINE).sort("line").select("user_id", "raw", "detail").collect().rows()
    ann, bob = hashed("ann"), hashed("bob")
    assert rows == [
        (
            ann,
            f'{{"user_id":"{ann}","item_id":"7","event_time":"yesterday"}}'.encode(),
            "yesterday",
        ),
        (None, None, "1 columns, expected 3"),
        (
            bob,
            f'{{"user_id":"{bob}","item_id":null,"event_time":"1704067200"}}'.encode(),
            "item_id",
        ),
        (None, None, "1 columns, expected 3"),
    ]


def test_erased_by_the_original_id_and_kept_out(config, tmp_path):
    lake = Lake(config.lake.path)
    fill(config, lake)
    assert erasing.erase(config, lake, "ann").rows[INTERACTIONS.name] == 9
    log(tmp_path / "log-again.csv", broken=[])
    result = ingest(config, lake)[0]
    assert (result.erased, result.accepted, result.duplicates) == (9, 0, 27)
    assert hashed("ann") not in lake.scan(INTERACTIONS).collect()["user_id"]


def test_another_key_and_no_key_are_refused(config, monkeypatch):
    lake = Lake(config.lake.path)
    ingest(config, lake)
    monkeypatch.setenv("USERS_KEY", KEY[::-1])
    with pytest.raises(ConfigError, match="hashed by another key"):
        ingest(config, lake)
    monkeypatch.setenv("USERS_KEY", "short")
    with pytest.raises(ConfigError, match="a key of 5 characters; at least 32"):
        user_ids(config, lake)
    plain = config.model_copy(update={"privacy": Config().privacy})
    with pytest.raises(ConfigError, match="holds hashed user ids"):
        ingest(plain, lake)


def test_a_lake_with_plain_ids_is_not_hashed_from_now_on(config, tmp_path):
    lake = Lake(config.lake.path)
    ingest(config.model_copy(update={"privacy": Config().privacy}), lake)
    log(tmp_path / "log-more.csv")
    with pytest.raises(ConfigError, match="holds plain user ids"):
        ingest(config, lake)
    assert "ann" in lake.scan(INTERACTIONS).collect()["user_id"]


def test_a_key_file(config, tmp_path):
    (tmp_path / "key").write_text(KEY + "\n")
    section = {"hash_users": True, "key_file": str(tmp_path / "key")}
    by_file = settings(tmp_path, config.lake.path, **section)
    lake = Lake(config.lake.path)
    assert user_ids(by_file, lake).one("ann") == hashed("ann") == user_ids(config, lake).one("ann")
    absent = settings(tmp_path, config.lake.path, hash_users=True, key_file=str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="cannot be read"):
        user_ids(absent, lake)


def test_a_night_on_hashed_ids_from_the_log_to_an_explanation(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("USERS_KEY", KEY)
    copied: Workspace = copy_workspace(trained, tmp_path / "hashed")
    privacy = '\n[privacy]\nhash_users = true\nkey_variable = "USERS_KEY"\n'
    text = copied.config_path.read_text().replace('path = "lake"', 'path = "new"')
    copied.config_path.write_text(text + privacy)
    config, lake = copied.config, copied.lake
    ingest(config, lake)
    embed(config, lake)
    promote(config, lake, train(config, lake, TRAINED))
    run_night(config, lake, NIGHT)
    removed = lake.scan(SCORED_INTERACTIONS).filter(pl.col("decision") == "remove").collect()
    original = {hashed(f"user{n}"): f"user{n}" for n in range(120)}
    user = original[removed["user_id"][0]]
    told = explain(lake, user_ids(config, lake).one(user), removed["item_id"][0])
    assert told.decisions[0].row["decision"] == "remove"
