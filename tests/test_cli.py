"""The command line: one line for each failure, and an exit code that tells the kinds apart."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline import cli as command_line
from pipeline.errors import ConflictError, ContractError
from pipeline.schemas import RUNS, SCORED_INTERACTIONS
from pipeline.steps.plan import plan
from pipeline.steps.score import score
from pipeline.storage import staging
from tests.conftest import NIGHT, Workspace


def run(
    workspace: Workspace, *arguments: str, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """The command as a user runs it."""
    command = [sys.executable, "-m", "pipeline", "--config", str(workspace.config_path)]
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, check=False, cwd=cwd
    )


def call(capsys, *arguments: str) -> tuple[int, str]:
    """Exit code and error output of the command, in this process."""
    with pytest.raises(SystemExit) as ended:
        command_line.main(list(arguments))
    return ended.value.code, capsys.readouterr().err


def test_a_night_from_the_shell(workspace):
    done = run(workspace, "run", "--date", str(NIGHT))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"night-{NIGHT}-")
    assert "audit of 2024-01-17" in done.stderr

    again = run(workspace, "run", "--date", str(NIGHT))
    assert again.stdout.strip().endswith("unchanged")
    assert "nothing to do" in again.stderr

    status = run(workspace, "status")
    assert "cleaned dates:  2024-01-17" in status.stdout

    explained = run(workspace, "explain", "--user", "user1", "--date", str(NIGHT))
    assert "noise probability" in explained.stdout


def test_steps_by_hand_equal_the_night(workspace, trained, copy_of):
    run(workspace, "run", "--date", str(NIGHT))
    other = copy_of(trained, "by-hand")
    for shard in ("0/2", "1/2"):
        assert run(other, "score", "--date", str(NIGHT), "--shard", shard).returncode == 0
    assert run(other, "publish", "--date", str(NIGHT), "--shards", "2").returncode == 0
    found = other.contents(SCORED_INTERACTIONS)
    assert found.equals(workspace.contents(SCORED_INTERACTIONS))


def test_a_broken_contract_exits_3_and_publishes_nothing(workspace):
    pinned = plan(workspace.config, workspace.lake, NIGHT)
    score(workspace.config, workspace.lake, pinned)
    path = staging.shard_path(workspace.lake, pinned.run_id, 0, 1)
    staging.write(path, staging.read(path).slice(1))
    done = run(workspace, "publish", "--date", str(NIGHT))
    assert done.returncode == 3
    last = done.stderr.strip().splitlines()[-1]
    assert "check every_interaction_scored_once failed" in last
    assert "Nothing was published" in last
    assert workspace.lake.version(SCORED_INTERACTIONS) == 0


def test_an_evaluation_from_the_shell_tells_where_the_report_is(workspace, tmp_path):
    asked = ["--part", "detection", "--noise", "uniform:0.2", "--seeds", "3", "--out", "report"]
    done = run(workspace, "evaluate", *asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "report\n"
    assert "cleaning of uniform:0.2, seed 3" in done.stderr
    assert (tmp_path / "report" / "report.md").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "--date", "17.1.2024"], "is not a date (write YYYY-MM-DD)"),
        (["score", "--date", "2024-01-17", "--shard", "4/4"], "is not a shard"),
        (["score", "--date", "2024-01-17", "--shard", "0/²"], "is not a shard"),
        (["erase", "--user", "", "--yes"], "the user id is empty"),
        (["explain", "--user", "nobody"], "no cleaned interaction of user 'nobody'"),
        (["run", "--date", "2024-01-17", "--model", "none-such"], 'no model "none-such"'),
        (["ingest", "clickz"], "clickz"),
        (["run", "--date", "2999-01-01"], "has not come yet"),
        (["report"], "no date is published yet: `iadsr run --date DATE` cleans one"),
        (["report", "--from", "2024-01-17"], "say either --date, or both --from and --to"),
        (["report", "--from", "2024-01-18", "--to", "2024-01-17"], "is after --to 2024-01-17"),
        (["evaluate", "--noise", "unifrom:0.1"], 'no noise of the kind "unifrom"'),
        (["evaluate", "--noise", "uniform"], "write kind:rate"),
        (["evaluate", "--seeds", "a,b"], "are no whole numbers (write for example 0,1,2)"),
        (["evaluate", "--budgets", "0.1,b"], "are no numbers (write for example 0.1,0.2)"),
        (["evaluate", "--budgets", "1.5"], "(option --budgets): Input should be less than 1"),
        (["evaluate", "--backbones", "bert"], "(option --backbones): Input should be 'gru4rec'"),
        (["evaluate", "--part", "detection", "--noise", "none"], "needs noise that is known"),
    ],
)
def test_a_wrong_request_exits_2_with_one_line(workspace, capsys, arguments, says):
    code, said = call(capsys, "--config", str(workspace.config_path), *arguments)
    assert code == 2
    assert says in said
    assert "Traceback" not in said


def test_a_lake_that_cannot_be_written_is_named_in_one_line(workspace, monkeypatch, capsys):
    monkeypatch.setenv("IADSR_LAKE__PATH", "/proc/nowhere")
    code, said = call(capsys, "--config", str(workspace.config_path), "ingest")
    last = said.strip().splitlines()[-1]
    assert code == 2
    assert last.startswith("error: /proc/nowhere/")
    assert "check lake.path" in last


def test_looking_at_a_lake_that_is_not_there_creates_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for arguments in (["status"], ["explain", "--user", "u"], ["catalog"], ["evaluate"]):
        code, said = call(capsys, *arguments)
        assert (code, "no lake at" in said) == (2, True)
    code, said = call(capsys, "ingest")
    assert (code, "nothing to ingest" in said) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_looking_at_a_folder_that_is_no_lake_creates_nothing(tmp_path, monkeypatch, capsys):
    """A wrong lake.path: seven empty tables there would look like a lake of one's own."""
    (tmp_path / "notes.txt").touch()
    monkeypatch.setenv("IADSR_LAKE__PATH", str(tmp_path))
    for arguments in (["status"], ["erase", "--user", "u"], ["models", "list"]):
        code, said = call(capsys, *arguments)
        assert (code, f"no lake at {tmp_path}" in said) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


class PanicException(BaseException):
    """What a panic of a library in Rust is raised as."""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ContractError("x"), 3),
        (ConflictError("x"), 4),
        (OSError(28, "No space left on device", "/lake"), 2),
        (ZeroDivisionError("x"), 70),
        (PanicException("x\nstack"), 70),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes_differ_by_kind(monkeypatch, capsys, error, code):
    def fail() -> None:
        raise error

    monkeypatch.setattr(command_line, "_loaded", fail)
    ended, said = call(capsys, "config", "show")
    assert ended == code
    assert len(said.strip().splitlines()) == 1


def test_every_command_has_help():
    for name in command_line.cli.commands:
        shown = CliRunner().invoke(command_line.cli, [name, "--help"])
        assert shown.exit_code == 0
        assert len(shown.output) > 80


def test_config_show_names_the_origin_of_each_value(workspace, capsys, monkeypatch):
    monkeypatch.setenv("IADSR_DECISION__FALSE_DROP_BUDGET", "0.02")
    with pytest.raises(SystemExit):
        command_line.main(["--config", str(workspace.config_path), "config", "show"])
    shown = capsys.readouterr().out
    assert "decision.false_drop_budget = 0.02  # env IADSR_DECISION__FALSE_DROP_BUDGET" in shown
    assert f"sources.clicks.format = 'csv'  # file {workspace.config_path}" in shown
    assert "night.shards = 1  # default" in shown


def test_runs_are_recorded_when_they_fail_too(workspace):
    done = run(workspace, "train", "--date", "1999-01-01")
    assert done.returncode == 2
    runs = workspace.contents(RUNS)
    failed = runs.filter(runs["status"] == "failed").to_dicts()
    assert failed[-1]["step"] == "train"
    assert "no interactions up to 1999-01-01" in failed[-1]["error"]
    assert json.loads(failed[-1]["engines"])["polars"]


def test_what_is_no_gguf_is_one_line_and_leaves_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("IADSR_ENCODER__VLLM__PYTHON", sys.executable)
    file, folder = tmp_path / "no.gguf", tmp_path / "model"
    code, told = call(capsys, "encoders", "convert-gguf", str(file), str(folder))
    assert (code, told.strip()) == (2, f"error: no file at {file}")
    file.write_bytes(b"not a model")
    code, told = call(capsys, "encoders", "convert-gguf", str(file), str(folder))
    assert code == 5
    assert told.count("\n") == 1
    assert told.startswith(f"error: {file} was not converted: ")
    assert not folder.exists()
