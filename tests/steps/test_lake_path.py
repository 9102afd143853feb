"""The lake's own path: spaces and accents are normal; what cannot work is refused in one line."""

from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import pytest

from pipeline.cli import main
from pipeline.errors import UserError
from pipeline.schemas import CLEAN_INTERACTIONS, INTERACTIONS, ITEM_EMBEDDINGS
from pipeline.steps.embed import embed
from pipeline.steps.erase import erase
from pipeline.steps.ingest import ingest
from pipeline.steps.maintain import maintain
from pipeline.steps.night import run_night
from pipeline.storage.lake import Lake, conform
from tests.conftest import NIGHT, Workspace, write_clicks, write_csv

USER = "user1"


def work(workspace: Workspace, late: list[tuple[str, str, int]]) -> None:
    """New rows on dates that stand, a new text, a night, upkeep: all that reads and writes."""
    write_clicks(workspace.data / "clicks-late.csv", late)
    write_csv(workspace.data / "items.csv", ["item_id", "title"], [("i-new", "garden gnome")])
    config, lake = workspace.config, workspace.lake
    ingest(config, lake)
    embed(config, lake)
    run_night(config, lake, NIGHT)
    soon = config.maintain.model_copy(update={"grace_hours": 0})
    maintain(config.model_copy(update={"maintain": soon}), lake)


def test_a_lake_in_a_folder_with_a_space_and_an_accent_works_as_any(trained, copy_of, fake):
    plain, odd = copy_of(trained, "plain"), copy_of(trained, "my dir é")
    first = plain.lake.scan(INTERACTIONS).sort("interaction_id").head(1).collect()
    known = (first["user_id"][0], first["item_id"][0], int(first["event_time"][0].timestamp()))
    for workspace in (plain, odd):
        work(workspace, [known, ("user3", "i-new", 1705449600)])
    assert fake.read == ["garden gnome"] * 2
    for name, rows in plain.tables().items():
        ours, own = (r.drop("source_file", strict=False) for r in (odd.tables()[name], rows))
        assert ours.equals(own), name
    assert odd.contents(ITEM_EMBEDDINGS).height > trained.contents(ITEM_EMBEDDINGS).height

    clean = odd.contents(CLEAN_INTERACTIONS).height
    count = "SELECT count(*) FROM clean_interactions"
    with duckdb.connect(odd.folder / "lake/catalog.duckdb", read_only=True) as opened:
        assert opened.execute(count).fetchall() == [(clean,)]
    with duckdb.connect() as opened:
        opened.execute((odd.folder / "lake/catalog.sql").read_text())
        assert opened.execute(count).fetchall() == [(clean,)]

    done = erase(odd.config, odd.lake, USER)
    assert done.rows[INTERACTIONS.name] > 0
    assert not done.found.held
    assert USER not in odd.contents(INTERACTIONS)["user_id"]


def test_only_the_files_of_the_dates_asked_for_are_read(tmp_path):
    """The files of other dates may even be broken: they are told apart by the log alone."""
    lake = Lake(str(tmp_path / "my dir é"))
    for day in (date(2024, 1, 1), date(2024, 1, 2)):
        lake.append(INTERACTIONS, one_row(day))
    for path in lake.partition_files(INTERACTIONS)[date(2024, 1, 1)]:
        Path(path).write_bytes(b"broken")
    asked = lake.scan(INTERACTIONS).filter(pl.col("event_date") == date(2024, 1, 2))
    assert asked.collect().height == 1


def one_row(day: date) -> pl.DataFrame:
    return conform(pl.DataFrame({"event_date": [day], "user_id": ["u"]}), INTERACTIONS)


def test_a_lake_on_s3_below_a_prefix_with_a_space_is_read(bucket):
    lake = Lake(f"{bucket}/my dir é")
    lake.append(INTERACTIONS, one_row(date(2024, 1, 1)))
    assert lake.scan(INTERACTIONS).collect()["user_id"].to_list() == ["u"]


@pytest.mark.parametrize("name", [*"#?*%[]{}^|\\\n", "a=b", "a=b/lake"])
def test_a_path_with_which_no_table_could_be_read_is_refused(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IADSR_LAKE__PATH", f"'''{tmp_path}/x{name}'''")
    with pytest.raises(SystemExit) as ended:
        main(["status"])
    said = capsys.readouterr().err
    assert (ended.value.code, said.count("\n")) == (2, 1)
    assert said.startswith("error: lake.path: ")
    assert "name a path without" in said
    with pytest.raises(UserError, match=r"lake\.path"):
        Lake(f"s3://bucket/{name}")
    assert list(tmp_path.iterdir()) == []


def test_a_relative_lake_in_a_folder_with_such_a_name_is_refused_too(tmp_path, monkeypatch):
    folder = tmp_path / "a[1]"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match=r"lake\.path: .*a\[1\]/lake"):
        Lake("lake")
