"""Each format, by a file small enough to check by eye."""

import gzip
import json
import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import get_args

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import columns as col
from pipeline.config import CatalogueConfig, Config, Format, SourceConfig
from pipeline.errors import ConfigError, SourceError
from pipeline.schemas import INTERACTIONS, ITEMS, QUARANTINE
from pipeline.sources import FORMATS, SUFFIXES
from pipeline.sources.catalogue import plain, render, text_hash
from pipeline.sources.paths import find_files
from pipeline.steps.ingest import ingest
from pipeline.storage.lake import Lake

NOON = datetime(2024, 1, 3, 12, tzinfo=UTC)
S = int(NOON.timestamp())


def log(tmp_path: Path, name: str, content: str | bytes, **source: object) -> pl.DataFrame:
    path = tmp_path / name
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    config = Config(sources={"log": SourceConfig(path=str(path), **source)})
    lake = Lake(str(tmp_path / "lake"))
    ingest(config, lake, now=NOON)
    return lake.scan(INTERACTIONS).collect().sort(col.USER_ID, col.ITEM_ID)


def events(frame: pl.DataFrame) -> list[tuple[object, ...]]:
    return frame.select(col.USER_ID, col.ITEM_ID, col.EVENT_TIME, col.VALUE).rows()


def items(tmp_path: Path, name: str, content: str | bytes, **catalogue: object) -> dict[str, dict]:
    path = tmp_path / name
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    config = Config(catalogues={"items": CatalogueConfig(path=str(path), **catalogue)})
    lake = Lake(str(tmp_path / "lake"))
    ingest(config, lake, now=NOON)
    return {row[col.ITEM_ID]: row for row in lake.scan(ITEMS).collect().iter_rows(named=True)}


@pytest.mark.parametrize(
    ("name", "content", "source"),
    [
        ("a.csv", f"user_id,item_id,timestamp,rating\nu,i,{S},4\n", {"format": "csv"}),
        ("a.csv.gz", f"user_id,item_id,timestamp,rating\nu,i,{S},4\n", {"format": "csv"}),
        ("crlf.csv", f"user_id,item_id,timestamp,rating\r\nu,i,{S},4\r\n", {"format": "csv"}),
        ("no-end.csv", f"user_id,item_id,timestamp,rating\nu,i,{S},4", {"format": "csv"}),
        (
            "quoted.csv",
            f'"user_id","item_id",timestamp,rating\n"u","i",{S},"4"\n',
            {"format": "csv"},
        ),
        ("bom.csv", f"\ufeffuser_id,item_id,timestamp,rating\nu,i,{S},4\n", {"format": "csv"}),
        (
            "a.tsv",
            f"who\twhat\twhen\tstars\nu\ti\t{S}\t4\n",
            {
                "format": "csv",
                "separator": "\t",
                "columns": {
                    "user_id": "who",
                    "item_id": "what",
                    "event_time": "when",
                    "value": "stars",
                },
            },
        ),
        (
            "bare.csv",
            f"u,i,{S},4\n",
            {"format": "csv", "header": False, "columns": {"value": "4"}},
        ),
        ("u.data", f"u\ti\t4\t{S}\n", {"format": "movielens"}),
        ("ratings.dat", f"u::i::4::{S}\n", {"format": "movielens"}),
        (
            "ml.inter",
            f"user_id:token\titem_id:token\trating:float\ttimestamp:float\nu\ti\t4\t{S}.0\n",
            {"format": "recbole"},
        ),
        (
            "own.jsonl",
            json.dumps({"who": "u", "item_id": "i", "time": NOON.isoformat(), "stars": 4}),
            {
                "format": "jsonl",
                "time": "iso",
                "columns": {"user_id": "who", "value": "stars"},
            },
        ),
        (
            "2014.json.gz",
            json.dumps({"reviewerID": "u", "asin": "i", "overall": 4.0, "unixReviewTime": S}),
            {"format": "amazon"},
        ),
        (
            "2018.json",
            json.dumps(
                {
                    "overall": 4,
                    "verified": True,
                    "reviewerID": "u",
                    "asin": "i",
                    "unixReviewTime": S,
                }
            ),
            {"format": "amazon"},
        ),
        (
            "2023.jsonl",
            json.dumps(
                {
                    "rating": 4.0,
                    "asin": "x",
                    "parent_asin": "i",
                    "user_id": "u",
                    "timestamp": S * 1000,
                }
            ),
            {"format": "amazon"},
        ),
        (
            "2023-no-parent.jsonl",
            json.dumps({"rating": 4.0, "asin": "i", "user_id": "u", "timestamp": S * 1000}),
            {"format": "amazon"},
        ),
    ],
)
def test_a_log_of_every_format_gives_the_same_event(
    tmp_path: Path, name: str, content: str, source: dict[str, object]
) -> None:
    assert events(log(tmp_path, name, content, **source)) == [("u", "i", NOON, 4.0)]


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        ("s", f"{S}"),
        ("s", f"{S}.0"),
        ("ms", f"{S}000"),
        ("us", f"{S}000000"),
        ("iso", "2024-01-03T12:00:00Z"),
        ("iso", "2024-01-03 12:00:00"),
        ("iso", "2024-01-03T13:00:00+01:00"),
        ("auto", f"{S}"),
        ("auto", f"{S}000"),
        ("auto", f"{S}000000"),
        ("auto", "2024-01-03T12:00:00"),
    ],
)
def test_times_of_every_unit(tmp_path: Path, unit: str, text: str) -> None:
    content = f"user_id,item_id,timestamp\nu,i,{text}\n"
    found = log(tmp_path, "a.csv", content, format="csv", time=unit)
    assert found[col.EVENT_TIME].to_list() == [NOON]
    assert found[col.EVENT_DATE].to_list() == [NOON.date()]


def test_a_fraction_of_a_second_is_kept_to_the_microsecond(tmp_path: Path) -> None:
    content = f"user_id,item_id,timestamp\nu,i,{S}.123456\n"
    found = log(tmp_path, "a.csv", content, format="csv")
    assert found[col.EVENT_TIME].to_list() == [NOON.replace(microsecond=123456)]


def test_two_spellings_of_one_event_are_one_event(tmp_path: Path) -> None:
    content = f'user_id,item_id,timestamp\nu,i,{S}\n"u",i,{S}.0\nu,i, {S}\n'
    assert len(log(tmp_path, "a.csv", content, format="csv")) == 1


def test_extra_columns_are_kept_as_text(tmp_path: Path) -> None:
    content = f"user_id,item_id,timestamp,shop,rating\nu,i,{S},007,4\n"
    found = log(tmp_path, "a.csv", content, format="csv", extra_columns=("shop", "rating"))
    assert found.select("shop", "rating", col.VALUE).rows() == [("007", "4", 4.0)]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["run_id"], '"run_id" is a column of `interactions` already'),
        (["User_ID"], '"User_ID" is a column of `interactions` already'),
        (["weight"], '"weight" is a column of exports already'),
        (["Kept"], '"Kept" is a column of exports already'),
        (["shop", "Shop"], r'"Shop" is listed twice \(case does not count\)'),
    ],
)
def test_an_extra_column_whose_name_is_taken_is_refused(
    tmp_path: Path, extra: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        log(tmp_path, "a.csv", "user_id\n", format="csv", extra_columns=extra)


@pytest.mark.parametrize(
    ("format_", "rest", "value", "columns"),
    [
        ("jsonl", {"user_id": "u", "item_id": "i", "time": S}, "value", {}),
        ("jsonl", {"user_id": "u", "item_id": "i", "time": S}, "rating", {}),
        ("jsonl", {"user_id": "u", "item_id": "i", "time": S}, "stars", {"value": "stars"}),
        ("amazon", {"reviewerID": "u", "asin": "i", "unixReviewTime": S}, "overall", {}),
    ],
)
def test_what_the_first_object_leaves_out_is_read_from_the_others(
    tmp_path: Path, format_: str, rest: dict, value: str, columns: dict
) -> None:
    lines = [{}, {"event_type": "view"}, {"event_type": "buy", value: 4, "shop": "x"}]
    content = "\n".join(json.dumps(rest | line) for line in lines)
    options = {"format": format_, "columns": columns, "extra_columns": ("shop",)}
    found = log(tmp_path, "sparse.json", content, **options).sort(col.EVENT_TYPE)
    rows = found.select(col.EVENT_TYPE, col.VALUE, "shop").rows()
    assert rows == [(None, None, None), ("buy", 4.0, "x"), ("view", None, None)]


def test_a_catalogue_of_json_lines_may_leave_out_a_field_of_the_template(tmp_path: Path) -> None:
    content = '{"id": "a", "name": "soap"}\n{"id": "b", "name": "oil", "brand": "X"}'
    mapped = {"columns": {"brand": "brand"}, "template": "{title} {brand}"}
    found = items(tmp_path, "i.jsonl", content, format="jsonl", **mapped)
    assert {key: row[col.TEXT] for key, row in found.items()} == {"a": "soap", "b": "oil X"}


def test_a_missing_column_is_named_with_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError,
        match=r"no column \"item_id\".*found: 'user_id', 'itemid'.*did you mean \"itemid\"",
    ):
        log(tmp_path, "a.csv", "user_id,itemid,timestamp\n", format="csv")


@pytest.mark.parametrize("hive", [False, True])
def test_a_parquet_log_with_typed_columns(tmp_path: Path, hive: bool) -> None:
    folder = tmp_path / "log" / ("shop=berlin" if hive else ".")
    folder.mkdir(parents=True)
    pl.DataFrame(
        {"user_id": [7], "item_id": ["i"], "event_time": [NOON], "rating": [4]}
    ).write_parquet(folder / "part-0.parquet")
    extra = ("shop",) if hive else ()
    source = SourceConfig(format="parquet", path=str(tmp_path / "log"), extra_columns=extra)
    lake = Lake(str(tmp_path / "lake"))
    ingest(Config(sources={"log": source}), lake, now=NOON)
    found = lake.scan(INTERACTIONS).collect()
    assert events(found) == [("7", "i", NOON, 4.0)]
    assert not hive or found["shop"].to_list() == ["berlin"]


def parquet_log(tmp_path: Path, columns: dict[str, list], **source: object) -> pl.DataFrame:
    rows = {"user_id": ["u"], "item_id": ["i"], "event_time": [NOON]} | columns
    pl.DataFrame(rows, strict=False).write_parquet(tmp_path / "log.parquet")
    spec = SourceConfig(format="parquet", path=str(tmp_path / "log.parquet"), **source)
    lake = Lake(str(tmp_path / "lake"))
    ingest(Config(sources={"log": spec}), lake, now=NOON)
    return lake.scan(INTERACTIONS).collect()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["a", "b"], '["a", "b"]'),
        ({"k": 1}, '{"k": 1}'),
        (b"bytes", "bytes"),
        (timedelta(days=1), "1 day, 0:00:00"),
        (None, None),
    ],
)
def test_a_parquet_column_of_any_type_is_kept_as_text(
    tmp_path: Path, given: object, text: str | None
) -> None:
    found = parquet_log(tmp_path, {"tags": [given]}, extra_columns=("tags",))
    assert found["tags"].to_list() == [text]


def test_a_list_as_an_id_is_text_and_a_category_is_a_number(tmp_path: Path) -> None:
    columns = {"item_id": [[7]], "rating": pl.Series(["4"], dtype=pl.Categorical)}
    assert events(parquet_log(tmp_path, columns)) == [("u", "[7]", NOON, 4.0)]


def test_whole_ids_that_became_floats_are_read_as_integers(tmp_path: Path) -> None:
    """On both paths: the last row has no plain id, so that it is read row by row."""
    columns = {
        "user_id": [12.0, 12.5, 12.0],
        "item_id": ["i", "j", "é"],
        "event_time": [NOON] * 3,
        "shop": [12.0] * 3,
    }
    found = parquet_log(tmp_path, columns, extra_columns=("shop",)).sort(col.ITEM_ID)
    assert found[col.USER_ID].to_list() == ["12", "12.5", "12"]
    assert found["shop"].to_list() == ["12.0"] * 3


def test_parquet_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.table([["u"], ["i"], [NOON], ["j"]], ["user_id", "item_id", "event_time", "item_id"])
    pq.write_table(table, tmp_path / "log.parquet")
    spec = SourceConfig(format="parquet", path=str(tmp_path / "log.parquet"))
    with pytest.raises(SourceError, match=r'2 columns are called "item_id"'):
        ingest(Config(sources={"log": spec}), Lake(str(tmp_path / "lake")), now=NOON)


def test_titles_of_movielens_are_latin_1(tmp_path: Path) -> None:
    found = items(
        tmp_path, "movies.dat", "1::Café (1990)::Drama\n".encode("latin-1"), format="movielens"
    )
    assert found["1"][col.TEXT] == "Café (1990)"
    found = items(
        tmp_path, "u.item", "2|Été|01-Jan-1995||x\n".encode("latin-1"), format="movielens"
    )
    assert found["2"][col.TEXT] == "Été"


def test_amazon_metadata_of_2014_are_python_literals(tmp_path: Path) -> None:
    content = (
        "{'asin': 'B1', 'title': 'Bob\\'s &amp; Ann\\'s  soap', 'brand': 'X'}\n{'asin': 'B2'}\n"
    )
    found = items(
        tmp_path,
        "meta.json.gz",
        content,
        format="amazon",
        columns={"brand": "brand"},
        template="{title} by {brand}",
    )
    assert found["B1"][col.TEXT] == "Bob's & Ann's soap by X"
    assert found["B1"][col.FIELDS] == '{"brand": "X"}'
    assert found["B1"][col.TEXT_HASH] == text_hash("Bob's & Ann's soap by X")
    assert (found["B2"][col.TEXT], found["B2"][col.TEXT_HASH]) == (None, None)


def test_a_literal_is_never_run(tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    content = "{'asin': 'B1', 'title': 'x'}\n{'asin': __import__('pathlib').Path('%s').touch()}\n"
    found = items(tmp_path, "meta.json", content % trap, format="amazon")
    assert list(found) == ["B1"]
    assert not trap.exists()


def test_amazon_metadata_of_2023_and_recbole_items(tmp_path: Path) -> None:
    found = items(tmp_path, "m.jsonl", '{"parent_asin": "B1", "title": "soap"}', format="amazon")
    assert found["B1"][col.TEXT] == "soap"
    content = "item_id:token\tmovie_title:token_seq\n5\tToy Story\n"
    assert items(tmp_path, "a.item", content, format="recbole")["5"][col.TITLE] == "Toy Story"


def test_objects_of_a_log_that_lack_a_field_or_are_none_are_kept_aside(tmp_path: Path) -> None:
    lines = [{"user_id": "u", "item_id": "i", "time": S}, {"item_id": "i", "time": S}, ["u", "i"]]
    frame = log(tmp_path, "own.jsonl", "\n".join(map(json.dumps, lines)) + "\n{", format="jsonl")
    assert len(frame) == 1
    rejected = Lake(str(tmp_path / "lake")).scan(QUARANTINE).collect().sort(col.LINE)
    assert rejected[col.LINE].to_list() == [2, 3, 4]
    assert rejected[col.REASON].to_list() == ["missing_field", *["malformed_line"] * 2]


def test_a_log_of_other_names_says_which_it_found(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r'no column "user_id" .*found: \'uid\', \'item_id\''):
        log(tmp_path, "own.jsonl", '{"uid": "u", "item_id": "i"}', format="jsonl")
    with pytest.raises(SourceError, match=r"line 1 is not a JSON object .* is the format jsonl"):
        log(tmp_path, "list.jsonl", "[1]", format="jsonl")


def test_items_of_json_lines(tmp_path: Path) -> None:
    content = '{"sku": 7, "name": "soap", "tags": ["a", "b"]}\n{"sku": "8", "name": null}'
    names = {"item_id": "sku", "tags": "tags"}
    template = "{title} {tags}"
    found = items(tmp_path, "i.jsonl", content, format="jsonl", columns=names, template=template)
    assert {key: row[col.TITLE] for key, row in found.items()} == {"7": "soap", "8": None}
    assert found["7"][col.TEXT].startswith("soap [")


def test_every_format_has_its_reader_and_its_endings() -> None:
    assert set(FORMATS) == set(SUFFIXES) == set(get_args(Format))


def test_a_quoted_title_of_a_catalogue_may_hold_newlines(tmp_path: Path) -> None:
    content = 'item_id,title\na,"Soap\n\nof ""Aleppo"""\nb,"lost\nc,"Oil\r\nof roses"\n,"no\nid"\n'
    found = items(tmp_path, "m.csv", content, format="csv")
    assert {i: row[col.TITLE] for i, row in found.items()} == {
        "a": 'Soap of "Aleppo"',
        "c": "Oil of roses",
    }
    rejected = Lake(str(tmp_path / "lake")).scan(QUARANTINE).collect().sort(col.LINE)
    assert rejected.select(col.LINE, col.RAW).rows() == [(5, b'b,"lost'), (8, b',"no\nid"')]


def test_a_template_with_an_unmapped_field_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"catalogues.items.template: no field \{brand\}"):
        items(tmp_path, "m.csv", "item_id,title\n", format="csv", template="{title} by {brand}")


def test_text_is_unescaped_and_collapsed() -> None:
    assert plain(" Salt &amp;\t Pepper\n") == "Salt & Pepper"
    assert render("{title} by {brand}", {"title": "Soap", "brand": "X"}) == "Soap by X"


def test_files_of_a_folder_are_found_in_capitals_and_through_links(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shop, elsewhere = tmp_path / "shop", tmp_path / "elsewhere"
    for name in ("a.csv", "B.CSV", "c.Tsv.GZ", "notes.md", "_SUCCESS", ".old/d.csv"):
        (shop / name).parent.mkdir(parents=True, exist_ok=True)
        (shop / name).touch()
    elsewhere.mkdir()
    (elsewhere / "e.csv").touch()
    (shop / "link").symlink_to(elsewhere)
    (shop / "loop").symlink_to(shop)
    (elsewhere / "back").symlink_to(shop)
    with caplog.at_level("INFO", "iadsr"):
        found = find_files(str(shop), suffixes=SUFFIXES["csv"])
    names = [Path(file).relative_to(shop).as_posix() for file in found]
    assert names == ["B.CSV", "a.csv", "c.Tsv.GZ", "link/e.csv"]
    assert f"{shop}: 1 passed over, not named {', '.join(SUFFIXES['csv'])}" in caplog.messages


def test_gzip_is_told_by_its_ending_in_capitals_too(tmp_path: Path) -> None:
    path = tmp_path / "LOG.CSV.GZ"
    path.write_bytes(gzip.compress(f"user_id,item_id,timestamp\nu,i,{S}\n".encode()))
    source = SourceConfig(format="csv", path=str(path))
    (result,) = ingest(Config(sources={"log": source}), Lake(str(tmp_path / "lake")), now=NOON)
    assert result.accepted == 1


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log.csv")
    with pytest.raises(SourceError, match=r"log.csv: a pipe or a device"):
        find_files(str(tmp_path / "log.csv"))


def test_dates_in_paths(tmp_path: Path) -> None:
    (tmp_path / "2024/01").mkdir(parents=True)
    for name in ("log-2024-01-03.csv", "log-2024-01-04.csv", "2024/01/03.csv"):
        (tmp_path / name).touch()

    def found(path: str, day: date | None = None) -> list[str]:
        return [str(Path(f).relative_to(tmp_path)) for f in find_files(f"{tmp_path}/{path}", day)]

    third = date(2024, 1, 3)
    assert found("log-{date}.csv", third) == ["log-2024-01-03.csv"]
    assert found("log-{date}.csv") == ["log-2024-01-03.csv", "log-2024-01-04.csv"]
    assert found("{date:%Y/%m/%d}.csv", third) == ["2024/01/03.csv"]
    assert found("{date:%Y/%m/%d}.csv") == ["2024/01/03.csv"]
    assert found("log-{date}.csv", date(2030, 1, 1)) == []
    assert found("log-*.csv") == ["log-2024-01-03.csv", "log-2024-01-04.csv"]
    with pytest.raises(SourceError, match="did you mean"):
        found("log-2024-01-05.csv")
    with pytest.raises(SourceError, match="matches no file"):
        found("nothing-*.csv")
