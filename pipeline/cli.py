"""The command line: options in, one step called, a few lines out.

Steps are imported inside the commands: `iadsr --help` must not load torch or polars.
"""

import logging
import sys
import traceback
from collections.abc import Callable
from datetime import date
from typing import Any

import click

from pipeline import __version__
from pipeline.commands.backfill import backfill
from pipeline.commands.doctor import doctor
from pipeline.commands.encoders import encoders
from pipeline.commands.erase import erase
from pipeline.commands.export import export
from pipeline.commands.maintain import maintain
from pipeline.commands.models import models
from pipeline.commands.options import (
    Day,
    Numbers,
    Shard,
    date_option,
    model_option,
    override_option,
)
from pipeline.commands.report import report
from pipeline.commands.session import existing_lake as _existing_lake
from pipeline.commands.session import loaded as _loaded
from pipeline.commands.session import session as _session
from pipeline.commands.snapshots import diff, rollback, snapshot
from pipeline.configuration import DEFAULT_PATH, effective, override
from pipeline.errors import InternalError, UserError, explained, is_interruption

EXIT_USER, EXIT_INTERRUPTED = 2, 130

EPILOG = (
    "Exit codes: 0 done, 2 the request or its files are wrong, 3 data broke a contract "
    "(nothing published), 4 another run won, 5 an engine failed, 70 internal error."
)


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", "config_path", metavar="FILE", help="Configuration [iadsr.toml].")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, prog_name="iadsr")
@click.pass_context
def cli(context: click.Context, config_path: str | None, debug: bool) -> None:
    """Clean interaction logs: ingest, embed, train, then score and publish one date at a time.

    \b
    A first run on your own logs:
      iadsr ingest                    read every configured source and catalogue
      iadsr embed                     embed item texts that were never seen before
      iadsr train --date 2024-01-02   train as of that date and promote the model
      iadsr run --date 2024-01-03     clean one date and publish it
      iadsr explain --user U          why was it removed?
      iadsr evaluate                  is it worth it? detection, usefulness, ablation
    """
    context.obj = {"config_path": config_path, "debug": debug}


for _command in (
    backfill,
    diff,
    doctor,
    encoders,
    erase,
    export,
    maintain,
    models,
    report,
    rollback,
    snapshot,
):
    cli.add_command(_command)


@cli.group()
def config() -> None:
    """Look at the configuration."""


@config.command("show")
def config_show() -> None:
    """Print every effective value and where it came from."""
    loaded = _loaded()
    for key, value, origin in effective(loaded):
        click.echo(f"{key} = {value!r}  # {origin}")
    click.echo(f"# digest {loaded.config.digest()}")


@cli.command()
@click.argument("names", nargs=-1)
@click.option("--date", "day", type=Day(), help="Fills {date} in paths [every date].")
def ingest(names: tuple[str, ...], day: date | None) -> None:
    """Read sources and catalogues into the lake (default: all, or those NAMED).

    A file is known by its content: reading it again changes nothing.
    """
    from pipeline.steps.ingest import ingest as step

    config, lake = _session()
    if not config.sources and not config.catalogues:
        raise UserError(
            "nothing to ingest: the configuration has no [sources.NAME] and no [catalogues.NAME] "
            f"(is there an {DEFAULT_PATH} here? or pass --config FILE)"
        )
    step(config, lake, day=day, names=names)


@cli.command()
def embed() -> None:
    """Embed the item texts that this encoder has never seen."""
    from pipeline.steps.embed import embed as step

    step(*_session())


@cli.command()
@date_option
@click.option("--promote/--no-promote", default=True, help="Use it for the nights [yes].")
@override_option
def train(day: date, promote: bool, reason: str | None) -> None:
    """Train a model on events up to the end of --date; promote it if it is no worse.

    In several processes: torchrun --nproc-per-node 2 -m pipeline train --date DATE
    """
    from pipeline.models.checkpoint import refuse_prefixes
    from pipeline.models.parallel import rank
    from pipeline.steps.promote import promote as to_use
    from pipeline.steps.train import train as step

    config, lake = _session()
    if promote:
        refuse_prefixes(config.model.texts)
    version = step(config, lake, day)
    if rank():
        return
    click.echo(version)
    if promote:
        to_use(config, lake, version, override=reason)


@cli.command()
@date_option
@click.option("--shard", type=Shard(), help="Only this shard of the users [each of night.shards].")
@model_option
def score(day: date, shard: tuple[int, int] | None, model_version: str | None) -> None:
    """Decide on one date's interactions and stage the result; publishes nothing."""
    from pipeline.steps.plan import plan
    from pipeline.steps.score import score as step

    config, lake = _session()
    pinned = plan(config, lake, day, model_version, shard[1] if shard else None)
    for index in [shard[0]] if shard else range(pinned.shards):
        step(config, lake, pinned, index)


@cli.command()
@date_option
@click.option("--shards", type=click.IntRange(1, 256), help="How many there are [night.shards].")
@model_option
@override_option
@click.option("--dry-run", is_flag=True, help="Audit only.")
def publish(
    *,
    day: date,
    shards: int | None,
    model_version: str | None,
    reason: str | None,
    dry_run: bool,
) -> None:
    """Audit the staged result of one date and publish it, or nothing."""
    from pipeline.steps.plan import plan
    from pipeline.steps.publish import publish as step

    config, lake = _session()
    step(config, lake, plan(config, lake, day, model_version, shards), reason, dry_run=dry_run)


@cli.command()
@date_option
@model_option
@click.option("--late", is_flag=True, help="Clean the stale dates of the last days, too.")
@override_option
def run(day: date, model_version: str | None, late: bool, reason: str | None) -> None:
    """Clean one date: ingest, embed, score every shard, audit, publish."""
    from pipeline.steps.night import run_night

    config, lake = _session()
    done = run_night(config, lake, day, model_version, late=late, override=reason)
    click.echo(f"{done.run_id} {done.status}")


@cli.command()
@click.option(
    "--as-of",
    "as_of",
    metavar="RUN|TIME",
    help="An earlier state: of this run, or the last at this time (UTC), into a file of its own.",
)
def catalog(as_of: str | None) -> None:
    """Write catalog.duckdb and catalog.sql of the newest published state, or of an earlier one."""
    from pipeline.storage.catalog import build
    from pipeline.storage.snapshots import build_as_of

    lake, folder = _existing_lake(), _loaded().config.lake.catalog
    click.echo(build_as_of(lake, as_of, folder) if as_of else build(lake, folder))


@cli.command()
def status() -> None:
    """Tables, promoted model, cleaned and stale dates, last runs."""
    from pipeline.console.lines import print_status
    from pipeline.steps.status import status as step

    print_status(step(_existing_lake()))


@cli.command()
@click.option("--user", required=True, help="User id, as in the source.")
@click.option("--item", help="Only this item.")
@click.option("--date", "day", type=Day(), help="Only this date.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def explain(user: str, item: str | None, day: date | None, as_json: bool) -> None:
    """Show a user's sequence, what of it was removed, and why.

    Without --item and --date, all removals are explained.
    """
    from pipeline.console.explanation import print_explanation, to_json
    from pipeline.steps.explain import explain as step
    from pipeline.storage.privacy import user_ids

    lake = _existing_lake()
    found = step(lake, user_ids(_session()[0], lake).one(user), item, day)
    click.echo(to_json(found)) if as_json else print_explanation(found)


@cli.command()
@click.option("--date", "day", type=Day(), help="Last date that is read [the newest].")
@click.option(
    "--part",
    type=click.Choice(["detection", "usefulness", "ablation", "all"]),
    default="all",
    show_default=True,
    help="Is known noise found; is a recommender better for the cleaning; what is each signal "
    "and each loss worth.",
)
@click.option(
    "--split", type=click.Choice(["leave_one_out", "global_time", "users"]), help="[evaluate.split]"
)
@click.option("--seeds", type=Numbers(int, "0,1,2"), help="[evaluate.seeds]")
@click.option(
    "--noise",
    multiple=True,
    metavar="KIND:RATE",
    help="Inject it, for example popularity:0.2; none: the log as it is. Repeatable "
    "[evaluate.noise].",
)
@click.option(
    "--budgets",
    type=Numbers(float, "0.1,0.2"),
    help="Further false-drop budgets to try the arms cleaned and soft under [evaluate.budgets].",
)
@click.option("--backbones", metavar="NAME,...", help="Recommenders [evaluate.backbones].")
@click.option("--out", metavar="FOLDER", help="Where the report goes [LAKE/evaluations/...].")
def evaluate(day: date | None, part: Any, out: str | None, **asked: Any) -> None:
    """Measure on your own log if noise is found, and if a recommender is better for it.

    Writes results.parquet, report.md and pictures. What is finished stays: run it again to go on.
    """
    from pipeline.steps.evaluate import evaluate as step

    if asked["backbones"]:
        asked["backbones"] = tuple(asked["backbones"].split(","))
    lake = _existing_lake()
    config = override(_session()[0], "evaluate", {k: v for k, v in asked.items() if v})
    click.echo(step(config, lake, day, part=part, out=out))


@cli.command()
@click.option("--folder", default="demo", show_default=True, help="Where to put everything.")
@click.option(
    "--encoder",
    type=click.Choice(["transformers", "vllm"]),
    default="transformers",
    show_default=True,
    help="What embeds the titles; vllm needs `make vllm`.",
)
def demo(folder: str, encoder: str) -> None:
    """Clean three nights of MovieLens-100K through Airflow, and show what was removed."""
    from pipeline.console.lines import print_demo
    from pipeline.steps.demo import demo as step

    print_demo(step(folder, encoder))


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `iadsr`: exit codes as in EPILOG, one line for each error."""
    arguments = sys.argv[1:] if arguments is None else arguments
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("iadsr").setLevel(logging.INFO)
    sys.exit(_run(lambda: cli(arguments, prog_name="iadsr", standalone_mode=False), arguments))


def _run(command: Callable[[], Any], arguments: list[str]) -> int:
    try:
        command()
    except click.exceptions.Exit as asked:
        return asked.exit_code
    except click.ClickException as error:
        error.show()
        return EXIT_USER
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted: what was committed stands; run it again to go on", err=True)
        return EXIT_INTERRUPTED
    except BaseException as error:
        if is_interruption(error):
            raise
        if "--debug" in arguments:
            traceback.print_exc()
        told = explained(error)
        line = f"error: {told}"
        if isinstance(told, InternalError):
            line = f"internal {line} (`iadsr --debug ...` shows where)"
        click.echo(line, err=True)
        return told.exit_code
    return 0
