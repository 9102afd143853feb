"""Every row ends in one place, each file enters once, and a failure leaves the lake as it was."""

import gzip
import hashlib
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from unittest import mock

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline import columns as col
from pipeline.config import CatalogueConfig, Config, IngestConfig, SourceConfig
from pipeline.digests import digest
from pipeline.errors import SourceError, UserError
from pipeline.schemas import INTERACTIONS, ITEMS, QUARANTINE, RUNS
from pipeline.sources import FORMATS, reasons
from pipeline.sources.judge import Batch
from pipeline.sources.reader import open_log
from pipeline.sources.seen import SeenIds
from pipeline.steps.ingest import IngestResult, ingest
from pipeline.storage.lake import Lake, conform

NOW = datetime(2024, 6, 1, tzinfo=UTC)
HEADER = b"user_id,item_id,timestamp,rating\n"
GOOD_TIME = 1_700_000_000
TABLES = (INTERACTIONS, ITEMS, QUARANTINE)

BAD_LINES = {
    b",i,1700000000,1": reasons.MISSING_FIELD,
    b"u,i,,1": reasons.MISSING_FIELD,
    b"u,i,soon,1": reasons.UNPARSABLE_TIME,
    b"u,i,nan,1": reasons.UNPARSABLE_TIME,
    b"u,i,12,1": reasons.IMPLAUSIBLE_TIME,
    b"u,i,1e300,1": reasons.IMPLAUSIBLE_TIME,
    str(int((NOW + timedelta(days=2)).timestamp())).encode().join([b"u,i,", b",1"]): (
        reasons.IMPLAUSIBLE_TIME
    ),
    b"  ,i,1700000000,1": reasons.EMPTY_ID,
    b"u,\xc2\xa0,1700000000,1": reasons.EMPTY_ID,
    b"u," + b"i" * 257 + b",1700000000,1": reasons.ID_TOO_LONG,
    b"": reasons.MALFORMED_LINE,
    b'"u,i,1700000000,1': reasons.MALFORMED_LINE,
    b"u,i,1700000000": reasons.WRONG_COLUMN_COUNT,
    b"u,i,1700000000,1,2": reasons.WRONG_COLUMN_COUNT,
    b"u\xff,i,1700000000,1": reasons.INVALID_UTF8,
    b"u,i,1700000000,inf": reasons.NON_FINITE_VALUE,
    b"u,i,1700000000,-Infinity": reasons.NON_FINITE_VALUE,
    b"u,i,1700000000,five": reasons.UNPARSABLE_VALUE,
}


def config_of(path: Path | str, **source: object) -> Config:
    settings_ = {"format": "csv", "path": str(path)} | source
    return Config(sources={"log": SourceConfig(**settings_)})


def rows_of(lake: Lake, table: object) -> pl.DataFrame:
    frame = lake.scan(table).collect()
    return frame.sort(frame.columns)


def versions(lake: Lake) -> list[int]:
    return [lake.version(table) for table in TABLES]


def ingest_file(tmp_path: Path, content: bytes, **source: object) -> tuple[Lake, IngestResult]:
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    lake = Lake(str(tmp_path / "lake"))
    (result,) = ingest(config_of(path, **source), lake, now=NOW)
    return lake, result


@pytest.mark.parametrize(("line", "reason"), BAD_LINES.items())
def test_a_bad_line_is_quarantined_verbatim_with_its_reason(
    tmp_path: Path, line: bytes, reason: str
) -> None:
    good = b"a,b,1700000000,1\n"
    lake, result = ingest_file(tmp_path, HEADER + good + line + b"\n" + b"a,c,1700000000,1\n")
    kept = rows_of(lake, QUARANTINE).select(col.LINE, col.REASON, col.RAW).rows()
    assert kept == [(3, reason, line)]
    assert (result.rows_read, result.accepted, result.quarantined) == (3, 2, 1)


def test_every_reason_has_a_line_that_shows_it() -> None:
    codes = {v for k, v in vars(reasons).items() if k.isupper() and isinstance(v, str)}
    assert set(BAD_LINES.values()) == codes - {reasons.SUPERSEDED}


FORMS = (b"%d,i%d,%d,%s", b'"%d",i%d,%d,%s', b'"%d","i%d","%d","%s"', b'%d,"i%d",%d,"%s"')
GOOD_LINES = st.builds(
    lambda u, i, t, v, q: FORMS[q] % (u, i, t, v),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(GOOD_TIME, GOOD_TIME + 3).map(lambda t: t + (t % 2) * 86_400),
    st.sampled_from([b"1", b"2.5", b"", b" 3"]),
    st.integers(0, 3),
)
LINES = st.lists(st.one_of(GOOD_LINES, st.sampled_from(list(BAD_LINES))), min_size=1, max_size=40)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(lines=LINES, crlf=st.booleans())
def test_whatever_the_file_every_row_ends_in_one_place(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], crlf: bool
) -> None:
    ending = b"\r\n" if crlf else b"\n"
    content = HEADER + b"".join(line + ending for line in lines)
    lake, result = ingest_file(tmp_path_factory.mktemp("case"), content)
    bad = {n: line for n, line in enumerate(lines, 2) if line in BAD_LINES}
    events = {line.replace(b'"', b"").rsplit(b",", 1)[0] for line in lines if line not in BAD_LINES}
    quarantined = rows_of(lake, QUARANTINE)
    assert dict(quarantined.select(col.LINE, col.RAW).iter_rows()) == bad
    assert Counter(quarantined[col.REASON]) == Counter(BAD_LINES[line] for line in bad.values())
    stood = rows_of(lake, INTERACTIONS)
    found = {
        b"%s,%s,%d" % (u.encode(), i.encode(), t)
        for u, i, t in stood.select(
            col.USER_ID, col.ITEM_ID, pl.col(col.EVENT_TIME).dt.epoch("s")
        ).iter_rows()
    }
    assert found == events
    assert result.rows_read == len(lines)
    assert result.accepted == len(stood) == len(events)
    assert result.duplicates == len(lines) - len(bad) - len(events)
    assert result.quarantined == len(bad)


def batches(path: Path, block_bytes: int) -> Batch:
    source = SourceConfig(format="csv", path=str(path))
    limits = Config().ingest
    with open_log(
        str(path), source, FORMATS["csv"], limits, now=NOW, block_bytes=block_bytes
    ) as reading:
        line, accepted, rejected = reading.header_lines, [], []
        for batch in reading.batches:
            accepted.append(batch.accepted)
            rejected.append(batch.rejected.with_columns(pl.col(col.LINE) + line))
            line += batch.rows
    return Batch(line, pl.concat(accepted), pl.concat(rejected))


@settings(max_examples=25, deadline=None)
@given(lines=LINES, block_bytes=st.integers(1, 200))
def test_the_block_size_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], block_bytes: int
) -> None:
    path = tmp_path_factory.mktemp("case") / "log.csv"
    path.write_bytes(HEADER + b"\n".join(lines) + b"\n")
    whole, pieces = batches(path, 1 << 20), batches(path, block_bytes)
    assert whole.rows == pieces.rows
    assert whole.accepted.equals(pieces.accepted)
    assert whole.rejected.equals(pieces.rejected)


IDS = st.lists(st.integers(-3, 3) | st.integers(-100, 100), max_size=8)
IDS_IN_TIME_ORDER = IDS.map(lambda ids: sorted(ids, key=lambda value: value // 8))


@given(
    blocks=st.lists(IDS | IDS_IN_TIME_ORDER, max_size=24),
    apart=st.sampled_from([2, 8]),
)
@example(blocks=[[0, 1, 0], [1, 9, 8, 9]], apart=8)  # repeated at once, but not by the neighbour
def test_an_id_is_met_again_exactly_if_it_was_met_before(
    blocks: list[list[int]], apart: int
) -> None:
    import numpy as np

    seen, before = SeenIds(), set()
    for block in blocks:
        ids = np.array(block, dtype=np.int64)
        with mock.patch.multiple("pipeline.sources.seen", _NEAR=4, _SCANS=3):
            found = seen.add(ids, ids // apart)
        expected = []
        for value in block:
            expected.append(value in before)
            before.add(value)
        assert expected == ([False] * len(block) if found is None else found.tolist())


def test_values_left_empty_are_accepted_and_broken_ones_are_not(tmp_path: Path) -> None:
    values = [b"", b"1.5", b"five", b" ", b'""', b"+2"] * 3
    lines = b"".join(b"u,i%d,1700000000,%s\n" % (n, v) for n, v in enumerate(values))
    lake, result = ingest_file(tmp_path, HEADER + lines)
    assert Counter(rows_of(lake, INTERACTIONS)[col.VALUE]) == {None: 9, 1.5: 3, 2.0: 3}
    assert result.quarantined == 3


def test_the_first_occurrence_wins(tmp_path: Path) -> None:
    content = HEADER + b'u,i,1700000000,1\n"u",i,1700000000,2\nu,i,1700000000,3\n'
    lake, result = ingest_file(tmp_path, content)
    assert rows_of(lake, INTERACTIONS)[col.VALUE].to_list() == [1.0]
    assert result.duplicates == 2


def test_rows_that_stand_in_the_lake_are_duplicates(tmp_path: Path) -> None:
    lake, _ = ingest_file(tmp_path, HEADER + b"u,i,1700000000,1\n")
    _, result = ingest_file(tmp_path, HEADER + b"u,i,1700000000,1\nu,j,1700000000,1\n")
    assert (result.accepted, result.duplicates) == (1, 1)
    assert rows_of(lake, INTERACTIONS)[col.ITEM_ID].to_list() in (["i", "j"], ["j", "i"])


def test_ingesting_a_file_again_changes_nothing_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = HEADER + b"u,i,1700000000,1\nbad\n"
    lake, _ = ingest_file(tmp_path, content)
    before = versions(lake)
    with caplog.at_level("INFO", "iadsr"):
        _, again = ingest_file(tmp_path, content)
    assert again.status == "unchanged"
    assert "log.csv: already ingested" in caplog.messages
    assert versions(lake) == before
    assert Counter(rows_of(lake, RUNS)[col.STATUS]) == {"succeeded": 1, "unchanged": 1}


def test_the_reconciliation_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "iadsr"):
        ingest_file(tmp_path, HEADER + b"u,i,1700000000,1\nu,i,1700000000,1\nbad\n")
    line = "log.csv: read 3 = accepted 1 + duplicates 1 + quarantined 1 (wrong_column_count 1)"
    assert line in caplog.messages


def test_a_detected_unit_is_stated(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "iadsr"):
        lake, _ = ingest_file(tmp_path, HEADER + b"u,i,1700000000000,1\n", time="auto")
    assert "log.csv: times look like ms" in caplog.messages
    assert '"time": "ms (detected)"' in rows_of(lake, RUNS)[col.INPUTS][0]


def test_a_file_with_a_header_only_has_no_rows(tmp_path: Path) -> None:
    _, result = ingest_file(tmp_path, HEADER)
    assert (result.status, result.rows_read) == ("succeeded", 0)


WHOLE_GZIP = gzip.compress(HEADER + b"u,i,1700000000,1\n" * 50_000)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.csv", b"", "it is empty"),
        ("log.csv", b"user_id,timestamp\nu,1\n", 'no column "item_id"'),
        ("log.csv", b"user_id,item_id,timestamp\ru,i,1\r", r"no row of CSV; .*\(LF or CR LF\)"),
        ("log.csv", b"user_id,item_id,time,item_id\nu,i,1,j\n", '2 columns are called "item_id"'),
        ("log.csv.gz", WHOLE_GZIP[:-20], "corrupt or truncated gzip"),
        ("log.csv.gz", b"no gzip at all", "corrupt or truncated gzip"),
        ("log.csv.gz", WHOLE_GZIP[:300] + b"xxxx" + WHOLE_GZIP[304:], "corrupt or truncated gzip"),
    ],
)
def test_a_file_that_cannot_be_read_leaves_the_lake_as_it_was(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    lake, _ = ingest_file(tmp_path, HEADER + b"a,b,1700000000,1\n")
    before = versions(lake)
    (tmp_path / "bad").mkdir()
    path = tmp_path / "bad" / name
    path.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        ingest(config_of(path), lake, now=NOW)
    assert versions(lake) == before
    data = list((tmp_path / "lake/interactions").rglob("*.parquet"))
    assert len([p for p in data if "_delta_log" not in str(p)]) == 1


def test_paths_and_names_that_lead_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lake = Lake(str(tmp_path / "lake"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no such file or folder"):
        ingest(config_of(tmp_path / "none.csv"), lake)
    with pytest.raises(SourceError, match="no readable files"):
        ingest(config_of(tmp_path / "empty"), lake)
    with pytest.raises(UserError, match=r'no source or catalogue "lag".*known: log'):
        ingest(config_of(tmp_path / "none.csv"), lake, names=["lag"])
    with caplog.at_level("INFO", "iadsr"):
        assert ingest(config_of(f"{tmp_path}/{{date}}.csv"), lake, day=date(2024, 1, 3)) == []
    assert "log: no file for 2024-01-03" in caplog.messages


def items_of(tmp_path: Path, content: str) -> tuple[Lake, IngestResult]:
    path = tmp_path / "items.csv"
    path.write_text(content)
    lake = Lake(str(tmp_path / "lake"))
    config = Config(catalogues={"items": CatalogueConfig(format="csv", path=str(path))})
    return lake, ingest(config, lake, now=NOW)[0]


def test_the_latest_text_of_an_item_wins(tmp_path: Path) -> None:
    items_of(tmp_path, "item_id,title\na,old\nb,same\n")
    lake, result = items_of(tmp_path, "item_id,title\na,older\na,new\n,lost\n")
    titles = dict(rows_of(lake, ITEMS).select(col.ITEM_ID, col.TITLE).iter_rows())
    assert titles == {"a": "new", "b": "same"}
    counts = (result.rows_read, result.accepted, result.duplicates, result.quarantined)
    assert counts == (3, 1, 1, 1)
    assert rows_of(lake, QUARANTINE).select(col.LINE, col.RAW).rows() == [(4, b",lost")]


def test_a_catalogue_that_changes_no_item_leaves_their_rows_alone(tmp_path: Path) -> None:
    lake, _ = items_of(tmp_path, "item_id,title\na,one\nb,two\n")
    before = rows_of(lake, ITEMS)
    _, result = items_of(tmp_path, "item_id,title\nb,two\n")
    assert result.status == "succeeded"
    assert rows_of(lake, ITEMS).equals(before)
    assert items_of(tmp_path, "item_id,title\nb,two\n")[1].status == "unchanged"


def test_a_catalogue_that_goes_back_to_an_earlier_text_is_read_again(tmp_path: Path) -> None:
    for title in ("Alpha", "Beta", "Alpha"):
        lake, result = items_of(tmp_path, f"item_id,title\na,{title}\n,lost\n")
        assert result.status == "succeeded"
        assert rows_of(lake, ITEMS)[col.TITLE].to_list() == [title]
    assert items_of(tmp_path, "item_id,title\na,Alpha\n,lost\n")[1].status == "unchanged"
    assert len(rows_of(lake, QUARANTINE)) == 2  # one of each content


def test_catalogues_side_by_side_are_each_read_once(tmp_path: Path) -> None:
    """What was read last is told of each place, or files that overlap would take turns for ever."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(f"item_id,title\ni,{name}\n")
    lake = Lake(str(tmp_path / "lake"))
    spec = CatalogueConfig(format="csv", path=f"{tmp_path}/*.csv")
    for status in ("succeeded", "unchanged"):
        results = ingest(Config(catalogues={"items": spec}), lake, now=NOW)
        assert [result.status for result in results] == [status] * 2


def test_catalogues_that_moved_with_their_folder_are_not_read_again(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    (old / "a.csv").write_text("item_id,title\ni,a\n")
    for folder, status in ((old, "succeeded"), (new, "unchanged")):
        if folder is new:
            old.rename(new)
        spec = CatalogueConfig(format="csv", path=str(folder))
        (result,) = ingest(Config(catalogues={"items": spec}), lake, now=NOW)
        assert result.status == status


def test_a_catalogue_that_an_earlier_release_read_is_not_read_again(tmp_path: Path) -> None:
    content = "item_id,title\na,Alpha\n"
    path = tmp_path / "items.csv"
    path.write_text(content)
    spec = CatalogueConfig(format="csv", path=str(path))
    told = {
        "sha256": hashlib.sha256(content.encode()).hexdigest(),
        "spec": digest(spec.model_dump(mode="json", exclude={"path"}), 32),
    }
    lake = Lake(str(tmp_path / "lake"))
    lake.append(ITEMS, conform(pl.DataFrame(), ITEMS).clear(), ("file:" + digest(told, 32), 1))
    assert items_of(tmp_path, content)[1].status == "unchanged"


def test_bounds_that_changed_are_taken_to_files_read_before(tmp_path: Path) -> None:
    lake, first = ingest_file(tmp_path, HEADER + b"u,i,1700000000,1\nu,j,12,1\n")
    assert (first.accepted, first.quarantined) == (1, 1)
    config = config_of(tmp_path / "log.csv")
    wider = config.model_copy(update={"ingest": IngestConfig(earliest=date(1970, 1, 1))})
    (second,) = ingest(wider, lake, now=NOW)
    assert (second.accepted, second.duplicates, second.quarantined) == (1, 1, 0)
    assert ingest(wider, lake, now=NOW)[0].status == "unchanged"
    assert ingest(config, lake, now=NOW)[0].status == "unchanged"


def test_a_file_that_is_read_in_another_way_corrects_nothing(tmp_path: Path) -> None:
    lake, _ = ingest_file(tmp_path, HEADER + b"u,i,1700000000,1\n")
    (tmp_path / "later.csv").write_bytes(HEADER + b"u,i,1700000000,2\n")
    (later,) = ingest(config_of(tmp_path / "later.csv"), lake, now=NOW)
    assert later.corrected == 1
    wider = config_of(tmp_path / "log.csv").model_copy(
        update={"ingest": IngestConfig(earliest=date(1970, 1, 1))}
    )
    (again,) = ingest(wider, lake, now=NOW)
    assert (again.accepted, again.duplicates, again.corrected) == (0, 1, 0)
    assert rows_of(lake, INTERACTIONS)[col.VALUE].to_list() == [2.0]


def test_equal_parts_of_two_partitions_are_two_files(tmp_path: Path) -> None:
    """What the folders say is data, too: the bytes alone do not tell the rows."""
    for day in ("2024-01-01", "2024-01-02"):
        folder = tmp_path / "log" / "item_id=i" / f"dt={day}"
        folder.mkdir(parents=True)
        pl.DataFrame({"user_id": ["u"]}).write_parquet(folder / "0.parquet")
    columns = {"event_time": "dt"}
    config = config_of(tmp_path / "log", format="parquet", columns=columns, time="iso")
    lake = Lake(str(tmp_path / "lake"))
    assert [result.accepted for result in ingest(config, lake, now=NOW)] == [1, 1]
    found = rows_of(lake, INTERACTIONS)
    assert found[col.EVENT_DATE].sort().to_list() == [date(2024, 1, 1), date(2024, 1, 2)]
    assert found[col.RUN_ID].n_unique() == 2
    assert [result.status for result in ingest(config, lake, now=NOW)] == ["unchanged"] * 2


def test_names_of_hive_folders_are_decoded(tmp_path: Path) -> None:
    for name in ("add%20to%20cart", "__HIVE_DEFAULT_PARTITION__"):
        folder = tmp_path / "log" / f"event_type={name}"
        folder.mkdir(parents=True)
        pl.DataFrame({"user_id": ["u"], "item_id": ["i"], "event_time": [NOW]}).write_parquet(
            folder / "0.parquet"
        )
    lake = Lake(str(tmp_path / "lake"))
    ingest(config_of(tmp_path / "log", format="parquet"), lake, now=NOW)
    assert set(rows_of(lake, INTERACTIONS)[col.EVENT_TYPE]) == {None, "add to cart"}
