"""Put a model in use if it is no worse than the one in use, and go back to the one before."""

from dataclasses import dataclass
from datetime import date
from typing import Any

from pipeline import columns as col
from pipeline.config import Config
from pipeline.encoders.cache import read_vectors
from pipeline.errors import GateError
from pipeline.evaluation import challenge
from pipeline.evaluation.challenge import Contender, Measures
from pipeline.models import checkpoint
from pipeline.progress import logger
from pipeline.sequences import read_sequences
from pipeline.storage import runs
from pipeline.storage.lake import Lake


@dataclass(frozen=True)
class Comparison:
    """One measure of challenger and champion, and the limit that the challenger must keep."""

    name: str
    challenger: float
    champion: float
    limit: float
    higher_is_better: bool

    @property
    def kept(self) -> bool:
        """True if the challenger is within the limit."""
        if self.higher_is_better:
            return self.challenger >= self.limit
        return self.challenger <= self.limit

    def __str__(self) -> str:
        bound = "at least" if self.higher_is_better else "at most"
        return (
            f"{self.name} {self.challenger:.4f}, allowed is {bound} {self.limit:.4f} "
            f"(champion {self.champion:.4f})"
        )


def compare(config: Config, lake: Lake, version: str) -> list[Comparison]:
    """Measure a model against the promoted one on the same held-out data; [] if none is usable.

    Recorded in `runs` as step `compare`; changes nothing.
    """
    champion = checkpoint.champion(lake)
    inputs = {"challenger": version, "champion": champion}
    run = runs.Run(runs.run_id("compare", inputs), "compare", model_version=version, inputs=inputs)
    with runs.record(lake, config, run):
        found = _compare(config, lake, version, champion)
        run.outputs = {"comparisons": [_told(c) for c in found]}
    for comparison in found:
        logger.info("%s: %s", version, comparison)
    return found


def promote(config: Config, lake: Lake, version: str, override: str | None = None) -> runs.Run:
    """Put a model in use, if it passes `compare`, or someone gives a reason to override it.

    The first model needs no comparison, nor does one whose champion cannot be used any more.

    Raises
    ------
    GateError
        It is worse than the champion by more than [promotion] allows, or was rolled back before.
        The champion stays in use.
    """
    champion = checkpoint.champion(lake)
    inputs: dict[str, Any] = {"challenger": version, "champion": champion}
    run = runs.Run(runs.run_id("promote", inputs), "promote", model_version=version, inputs=inputs)
    with runs.record(lake, config, run):
        checkpoint.refuse_prefixes(
            checkpoint.read_card(lake, version)["config"]["model"].get("texts")
        )
        if champion == version:
            run.status = runs.UNCHANGED
            return run
        comparisons = compare(config, lake, version)
        run.inputs["measures"] = [_told(c) for c in comparisons]
        against = [str(c) for c in comparisons if not c.kept]
        if version in checkpoint.withdrawn(lake):
            against.insert(0, "it was rolled back before")
        if against and not override:
            raise GateError(
                f"{version} is not promoted: {'; '.join(against)}. {champion} stays in use. To "
                f'promote it all the same: `iadsr models promote {version} --override "REASON"`'
            )
        if override:
            run.inputs["override"] = {"reason": override, "gates": against}
        checkpoint.promote(lake, version)
        run.outputs = {"champion": version}
    return run


def rollback(config: Config, lake: Lake, reason: str) -> str:
    """Put the model in use again that was before; the next training does not undo it.

    Raises UserError: there was none before.
    """
    current = checkpoint.champion(lake)
    inputs = {"champion": current, "reason": reason}
    run = runs.Run(runs.run_id("rollback", inputs), "models rollback", inputs=inputs)
    with runs.record(lake, config, run):
        version = run.model_version = checkpoint.roll_back(lake)
        run.outputs = {"champion": version}
    logger.info("%s is in use again; %s needs --override to come back", version, current)
    return version


def _compare(config: Config, lake: Lake, version: str, champion: str | None) -> list[Comparison]:
    if champion is None or champion == version:
        logger.info("%s has no champion to be compared with", version)
        return []
    if not checkpoint.usable(lake, champion):
        logger.warning("%s is gone or of another release: no comparison for %s", champion, version)
        return []
    cards = [checkpoint.read_card(lake, v) for v in (version, champion)]
    settings = checkpoint.load(lake, version).instruments.settings
    sequences = read_sequences(lake, settings.sequence, date.fromisoformat(cards[0]["as_of"]))
    contenders = []
    for card in cards:
        vectors = read_vectors(lake, card["encoder_id"], sequences[col.ITEM_ID].unique())
        contenders.append(Contender(checkpoint.load(lake, card["model_version"]), vectors))
    share = min(card["config"]["train"]["validation_share"] for card in cards)
    frame = challenge.rehearsed_nights(sequences, contenders[0], share)
    measured = challenge.measure(contenders, frame, settings.decision)
    found = _comparisons(config, settings.decision.false_drop_budget, *measured)
    if config.promotion.downstream:
        ours, theirs = challenge.downstream(contenders, sequences, config)
        least = theirs * (1 - config.promotion.max_downstream_loss)
        found.append(Comparison("downstream NDCG@10", ours, theirs, least, True))
    return found


def _comparisons(
    config: Config, budget: float, ours: Measures, theirs: Measures
) -> list[Comparison]:
    limits, rise = config.promotion, config.promotion.max_false_drop_rise
    found = [
        Comparison(
            "noise found at the budget",
            ours.found,
            theirs.found,
            theirs.found - limits.max_detection_loss,
            True,
        ),
        Comparison(
            "false drops",
            ours.false_drops,
            theirs.false_drops,
            max(budget, theirs.false_drops) + rise,
            False,
        ),
    ]
    if ours.cold_false_drops is not None and theirs.cold_false_drops is not None:
        most = max(budget, theirs.cold_false_drops) + rise
        cold = (ours.cold_false_drops, theirs.cold_false_drops, most)
        found.append(Comparison("cold false drops", *cold, False))
    return found


def _told(comparison: Comparison) -> dict[str, Any]:
    return {
        "measure": comparison.name,
        "challenger": round(comparison.challenger, 6),
        "champion": round(comparison.champion, 6),
        "limit": round(comparison.limit, 6),
        "kept": comparison.kept,
    }
