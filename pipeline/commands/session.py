"""The configuration and the lake of one invocation of the command line."""

from typing import Any

import click

from pipeline.configuration import LoadedConfig, load
from pipeline.errors import UserError


def loaded() -> LoadedConfig:
    """The configuration, with the origin of each value."""
    return load(click.get_current_context().find_root().obj["config_path"])


def session() -> tuple[Any, Any]:
    """Configuration and lake."""
    from pipeline.storage.lake import Lake

    config = loaded().config
    return config, Lake(config.lake.path)


def existing_lake() -> Any:
    """The lake, for a command that only reads: nothing is created by looking."""
    from pipeline.schemas import INTERACTIONS
    from pipeline.storage.files import exists

    lake = session()[1]
    if not exists(lake.path(INTERACTIONS.name, "_delta_log")):
        raise UserError(
            f"no lake at {lake.root}: `iadsr ingest` makes it (or pass --config FILE, or set "
            "IADSR_LAKE__PATH)"
        )
    return lake
