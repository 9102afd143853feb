"""What cleaning one date will read: the snapshots, the model, the name of the work."""

from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any

from pipeline.config import Config, SequenceConfig
from pipeline.digests import digest
from pipeline.errors import UserError
from pipeline.models import checkpoint
from pipeline.progress import logger
from pipeline.schemas import (
    CLEAN_INTERACTIONS,
    INTERACTIONS,
    ITEM_EMBEDDINGS,
    ITEMS,
    SCORED_INTERACTIONS,
)
from pipeline.sequences import rows_in_reach
from pipeline.storage import runs
from pipeline.storage.catalog import date_marker
from pipeline.storage.lake import Lake, correction_key, marker_number


@dataclass(frozen=True)
class Plan:
    """One date's cleaning, pinned: every shard and the publication work from the same plan."""

    run_id: str
    day: date
    shards: int
    interactions_version: int
    items_version: int
    embeddings_version: int
    model_version: str
    encoder_id: str
    config_digest: str

    @property
    def options(self) -> str:
        """What names this work to `iadsr score` and `iadsr publish`."""
        return f"--date {self.day} --model {self.model_version}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a scheduler to hand from task to task."""
        return asdict(self) | {"day": self.day.isoformat()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Plan":
        """Inverse of `to_dict`."""
        return cls(**(values | {"day": date.fromisoformat(values["day"])}))


def plan(
    config: Config,
    lake: Lake,
    day: date,
    model_version: str | None = None,
    shards: int | None = None,
) -> Plan:
    """Pin what cleaning `day` reads: its users' history up to the end of that day, and no later.

    The run's name is a digest of those inputs, so an unchanged date gets the name it had, in
    however many `shards` it is scored (default: `night.shards`).

    Raises
    ------
    UserError
        The date lies in the future, or no model was named and none is promoted.
    """
    if day > datetime.now(UTC).date():
        raise UserError(f"{day} has not come yet (UTC): clean a date when its events are in")
    version = model_version or checkpoint.champion(lake)
    if version is None:
        raise UserError(
            f"no model is promoted in {lake.root}: train one with `iadsr train --date DATE`"
        )
    card = checkpoint.read_card(lake, version)
    checkpoint.refuse_prefixes(card["config"]["model"].get("texts"))
    _warn_of_changes(config, card)
    encoder_id = str(card["encoder_id"])
    interactions, items = lake.version(INTERACTIONS), lake.version(ITEMS)
    embeddings = lake.version(ITEM_EMBEDDINGS)
    settings = SequenceConfig.model_validate(card["config"]["sequence"])
    inputs = {
        "history": rows_in_reach(lake, settings, day, interactions),
        "items": items,
        "vectors": lake.partition_rows(ITEM_EMBEDDINGS, embeddings).get(encoder_id, 0),
        "model": version,
    }
    corrected = lake.marker(INTERACTIONS, correction_key(day), interactions)
    if corrected is not None:
        inputs["corrected"] = corrected
    return Plan(
        run_id=runs.run_id("night", inputs, day),
        day=day,
        shards=shards or config.night.shards,
        interactions_version=interactions,
        items_version=items,
        embeddings_version=embeddings,
        model_version=version,
        encoder_id=encoder_id,
        config_digest=digest({name: card["config"][name] for name in checkpoint.USED_WITH}),
    )


def _warn_of_changes(config: Config, card: dict[str, Any]) -> None:
    current = config.model_dump(mode="json")
    changed = [name for name in checkpoint.USED_WITH if current[name] != card["config"][name]]
    if changed:
        logger.warning(
            "configuration of [%s] differs from what %s was trained with: the model's own is used "
            "until the next `iadsr train`",
            "], [".join(changed),
            card["model_version"],
        )


def is_published(lake: Lake, plan: Plan) -> bool:
    """True if this very work is what stands published for its date, in both tables."""
    number, key = marker_number(plan.run_id), date_marker(plan.day)
    return all(lake.marker(t, key) == number for t in (SCORED_INTERACTIONS, CLEAN_INTERACTIONS))
