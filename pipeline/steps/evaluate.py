"""Measure detection and usefulness on a configured log, cell by cell, and write the report."""

import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any, Literal

import polars as pl

from pipeline import __version__
from pipeline import columns as col
from pipeline.config import Config, RecommenderConfig
from pipeline.configuration import override
from pipeline.digests import digest
from pipeline.encoders import encoder_id as name_encoder
from pipeline.encoders.cache import read_vectors
from pipeline.errors import UserError
from pipeline.evaluation import ablation, names, ranking, results, usefulness
from pipeline.evaluation.cells import Cells, code_digest, fingerprint
from pipeline.evaluation.cleaning import clean_log, decide_under, further_budgets
from pipeline.evaluation.detection import detect, detect_rows
from pipeline.evaluation.noise import Noise, noisy_log, parse
from pipeline.evaluation.plots import plots
from pipeline.evaluation.report import markdown
from pipeline.evaluation.splits import Split, global_time, leave_one_out, undivided
from pipeline.evaluation.unseen import Unseen
from pipeline.models.batches import Prefixes
from pipeline.models.checkpoint import MADE_WITH
from pipeline.progress import Progress, logger, progress
from pipeline.schemas import INTERACTIONS, ITEMS
from pipeline.sequences import nothing_in_reach, read_sequences, rows_in_reach
from pipeline.steps.prefixes import reading_prefixes
from pipeline.storage import files, places, runs
from pipeline.storage.lake import Lake

Part = Literal["detection", "usefulness", "ablation", "all"]

REPORT = "report.md"
NEED_NOISE = ("detection", "ablation")  # that is known


@dataclass(frozen=True)
class _Work:
    """What all cells share."""

    config: Config
    split: Split
    vectors: pl.DataFrame
    vectors_digest: str
    cells: Cells
    parts: tuple[str, ...]
    bar: Progress
    prefixes: Prefixes | None


def evaluate(
    config: Config,
    lake: Lake,
    as_of: date | None = None,
    *,
    part: Part = "all",
    out: str | None = None,
) -> str:
    """Measure what the configuration's section `evaluate` asks for, and report it.

    Parameters
    ----------
    config : Config
        Its lake's interactions and vectors are the data set.
    lake : Lake
        The lake.
    as_of : date, optional
        Last date that is read; default: the newest with interactions.
    part : str
        "detection" or "ablation" (which need injected noise), "usefulness" or "all".
    out : str, optional
        Folder of the report and of the cells; default: one below the lake, named by the data and
        the configuration.

    Returns
    -------
    str
        The folder, which then holds results.parquet, report.md and pictures.

    Raises
    ------
    UserError
        Nothing to evaluate on, or noise that cannot be.
    """
    noises = list(dict.fromkeys(parse(text) for text in config.evaluate.noise))
    parts = ("detection", "usefulness", "ablation") if part == "all" else (part,)
    if part in NEED_NOISE and all(noise.none for noise in noises):
        raise UserError(f"{part} needs noise that is known: name some, like popularity:0.2")
    _check_budgets(config, part)
    if config.evaluate.split == "users" and part != "detection":
        raise UserError("the split by users holds no item out to predict: ask for --part detection")
    as_of = as_of or _newest(lake)
    origin = _origin(config, lake, as_of)
    same = {name: value for name, value in origin.items() if name != "interactions_version"}
    folder = out or lake.path(places.EVALUATIONS, f"{as_of}-{digest(same, 16)}")
    asked = {"origin": same, "asked": config.digest("evaluate", "recommender"), "part": part}
    run = runs.Run(runs.run_id("evaluate", asked, as_of), "evaluate", as_of)
    run.encoder_id, run.inputs, run.outputs = origin["encoder_id"], origin, {"folder": folder}
    with runs.record(lake, config, run):
        frame, vectors = _data(config, lake, as_of, origin)
        split = _split(config, frame)
        cells = Cells(folder)
        with (
            progress(_cells(config, noises, parts), "evaluate", "cells") as bar,
            reading_prefixes(config, lake) as prefixes,
        ):
            work = _Work(config, split, vectors, fingerprint(vectors), cells, parts, bar, prefixes)
            measured = _unseen if config.evaluate.split == "users" else _measured
            rows = [*_protocol(config, split, origin), *measured(work, noises)]
            rows += _ablations(work, noises)
        _write(folder, _table(config, lake, rows))
        run.counts = {"cells": cells.made, "cells_there_already": cells.found}
        run.status = runs.SUCCEEDED if cells.made else runs.UNCHANGED
    return folder


def _check_budgets(config: Config, part: Part) -> None:
    if not config.evaluate.budgets or part == "ablation":
        return
    if config.decision.method != "calibrated":
        raise UserError('evaluate.budgets are for decision.method "calibrated": leave them out')
    if part == "usefulness" and not {*config.evaluate.arms} & {*usefulness.DELIVERED}:
        raise UserError('evaluate.budgets are for the arms "cleaned" and "soft": name one of them')


def _newest(lake: Lake) -> date:
    days = lake.partition_rows(INTERACTIONS)
    if not days:
        raise UserError(f'no interactions in {lake.root} (run "iadsr ingest")')
    newest: date = max(days)
    return newest


def _origin(config: Config, lake: Lake, as_of: date) -> dict[str, Any]:
    """What the evaluation reads, and how it is set, but for what is asked of it."""
    interactions = lake.version(INTERACTIONS)
    return {
        "as_of": as_of.isoformat(),
        "interactions_version": interactions,
        "history": digest(rows_in_reach(lake, config.sequence, as_of, interactions), 16),
        "items": lake.version(ITEMS),
        "encoder_id": name_encoder(config.encoder),
        "config_digest": config.digest(*MADE_WITH),
        "code_version": __version__,
    }


def _data(
    config: Config, lake: Lake, as_of: date, origin: dict[str, Any]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    frame = read_sequences(lake, config.sequence, as_of, version=origin["interactions_version"])
    if frame.is_empty():
        raise nothing_in_reach(lake, config.sequence, as_of)
    vectors = read_vectors(lake, origin["encoder_id"], frame[col.ITEM_ID].unique())
    if vectors.is_empty():
        raise UserError(
            f'no vectors of the encoder {origin["encoder_id"]} in {lake.root} (run "iadsr embed")'
        )
    return frame, vectors


def _split(config: Config, frame: pl.DataFrame) -> Split:
    settings = config.evaluate
    if settings.split == "users":
        return undivided(frame)
    if settings.split == "leave_one_out":
        return leave_one_out(frame)
    return global_time(
        frame, validate_share=settings.validate_share, test_share=settings.test_share
    )


def _cells(config: Config, noises: list[Noise], parts: tuple[str, ...]) -> int:
    """How many cells there are at most (an arm may lack its column)."""
    settings = config.evaluate
    more = len(further_budgets(config)) * len({*settings.arms} & {*usefulness.DELIVERED})
    rankings = len(settings.backbones) * (len(settings.arms) + more + 1) * ("usefulness" in parts)
    draws = len(_draws(config))
    known = sum(not noise.none for noise in noises)
    by_users = settings.split == "users"
    cleaned = sum(_cleans(parts, noise) for noise in noises) * (not by_users)
    detected = known * ("detection" in parts)
    removed = known * ablation.size(config) * ("ablation" in parts)
    rankings *= len(noises) * len(settings.seeds)
    return (cleaned + detected + removed) * draws + rankings


def _draws(config: Config) -> tuple[int, ...]:
    """Seeds of the draws of noise, and of the cleanings."""
    return config.evaluate.seeds[: config.evaluate.draws]


def _measured(work: _Work, noises: list[Noise]) -> Iterator[results.Row]:
    for noise in noises:
        if not _cleans(work.parts, noise):
            continue
        logs = {seed: _judged(work, noise, seed) for seed in _draws(work.config)}
        told = results.noise_columns(noise)
        if "detection" in work.parts and not noise.none:
            found = {seed: _detected(work, noise, seed, log) for seed, log in logs.items()}
            yield from ({**told, **row} for row in results.detection_rows(found))
        if "usefulness" in work.parts:
            yield from ({**told, **row} for row in _dropped(work, logs))
            for settings in _recommenders(work.config):
                ranks = _ranks(work, noise, settings, logs)
                rows = results.usefulness_rows(ranks)
                yield from ({**told, names.BACKBONE: settings.backbone, **row} for row in rows)


def _unseen(work: _Work, noises: list[Noise]) -> Iterator[results.Row]:
    seeds = _draws(work.config)
    benches = {
        seed: Unseen(_seeded(work.config, seed), work.split.train, work.vectors, work.prefixes)
        for seed in seeds
    }
    shared = {
        "data": [fingerprint(work.split.train), work.vectors_digest],
        "folds": work.config.evaluate.folds,
        "code": code_digest("pipeline.evaluation.unseen"),
    }
    for noise in noises:
        if noise.none:
            continue
        found = {}
        for seed, bench in benches.items():
            rests_on = {**shared, "config": bench.config.digest(*MADE_WITH), "noise": str(noise)}
            label = f"{noise}, seed {seed}"
            rows = work.cells.get("unseen", label, rests_on, partial(bench.judged, noise, seed))
            found[seed] = detect_rows(bench.config, decide_under(bench.config, rows))
            work.bar.update(1)
        told = results.noise_columns(noise)
        yield from ({**told, **row} for row in results.detection_rows(found))


def _ablations(work: _Work, noises: list[Noise]) -> Iterator[results.Row]:
    known = [noise for noise in noises if "ablation" in work.parts and not noise.none]
    for noise in known:
        found = {seed: _ablated(work, noise, seed) for seed in _draws(work.config)}
        told = results.noise_columns(noise)
        yield from ({**told, **row} for row in results.ablation_rows(found))


def _cleans(parts: tuple[str, ...], noise: Noise) -> bool:
    """True if what is asked for rests on the decision on the whole log."""
    return "usefulness" in parts or ("detection" in parts and not noise.none)


def _judged(work: _Work, noise: Noise, seed: int) -> pl.DataFrame:
    """The log with its noise and, out of fold, the decision on every row of it."""
    config = _seeded(work.config, seed)
    log = noisy_log(work.split, noise, seed, work.vectors)
    rests_on = {
        "data": [fingerprint(log), work.vectors_digest],
        "config": config.digest(*MADE_WITH),
        "folds": config.evaluate.folds,
        "code": code_digest("pipeline.evaluation.cleaning"),
    }
    label = f"{noise}, seed {seed}"
    decided = work.cells.get(
        "cleaning", label, rests_on, lambda: clean_log(config, log, work.vectors, work.prefixes)
    )
    work.bar.update(1)
    judged = log.join(decided, on=names.ROW, how="left", maintain_order="left")
    return decide_under(config, judged)


def _seeded(config: Config, seed: int) -> Config:
    seeded = {name: getattr(config, name) for name in ("train", "cloze")}
    return config.model_copy(
        update={name: section.model_copy(update={"seed": seed}) for name, section in seeded.items()}
    )


def _detected(work: _Work, noise: Noise, seed: int, log: pl.DataFrame) -> pl.DataFrame:
    config = _seeded(work.config, seed)
    rests_on = {
        "data": [fingerprint(log), work.vectors_digest],
        "config": config.digest(*MADE_WITH),
        "code": code_digest("pipeline.evaluation.detection"),
    }
    found = work.cells.get(
        "detection", f"{noise}, seed {seed}", rests_on, lambda: detect(config, log, work.vectors)
    )
    work.bar.update(1)
    return found


def _ablated(work: _Work, noise: Noise, seed: int) -> pl.DataFrame:
    config, log = _seeded(work.config, seed), noisy_log(work.split, noise, seed, work.vectors)
    label = f"{noise}, seed {seed}"
    return ablation.ablate(
        config,
        log,
        work.vectors,
        work.cells,
        label=label,
        done=work.bar.update,
        prefixes=work.prefixes,
    )


def _recommenders(config: Config) -> list[RecommenderConfig]:
    return [
        override(config, "recommender", {"backbone": backbone}).recommender
        for backbone in config.evaluate.backbones
    ]


def _ranks(
    work: _Work, noise: Noise, settings: RecommenderConfig, logs: dict[int, pl.DataFrame]
) -> dict[str, dict[int, pl.DataFrame]]:
    """Arm -> seed -> ranks of what is held out."""
    found: dict[str, dict[int, pl.DataFrame]] = {}
    for seed, log in zip(work.config.evaluate.seeds, itertools.cycle(logs.values()), strict=False):
        for arm, use in _arms(work.config, log).items():
            task = usefulness.task_of(work.split, log, use(log, seed))
            label = f"{arm}, {noise}, {settings.backbone}, seed {seed}"
            found.setdefault(arm, {})[seed] = _ranking(work, task, label, settings, seed)
            work.bar.update(1)
    return found


def _arms(config: Config, log: pl.DataFrame) -> dict[str, usefulness.Arm]:
    return usefulness.arms_of(log, config.evaluate.arms, further_budgets(config))


def _ranking(
    work: _Work, task: ranking.Task, label: str, settings: RecommenderConfig, seed: int
) -> pl.DataFrame:
    rests_on = {
        "data": fingerprint(*vars(task).values()),
        "config": settings.model_dump(mode="json"),
        "seed": seed,
        "code": code_digest("pipeline.evaluation.ranking"),
    }
    return work.cells.get(
        "ranks",
        label,
        rests_on,
        lambda: ranking.measure_ranks(task, settings, seed, ranking.train_and_rank),
    )


def _dropped(work: _Work, logs: dict[int, pl.DataFrame]) -> Iterator[results.Row]:
    """Share of the log's rows that each arm does without."""
    for seed, log in logs.items():
        for arm, use in _arms(work.config, log).items():
            yield {
                names.PART: names.USEFULNESS,
                names.ARM: arm,
                names.SEED: seed,
                names.METRIC: results.DROPPED,
                names.VALUE: usefulness.dropped_share(use(log, seed)),
                names.N: log.height,
            }


def _protocol(config: Config, split: Split, origin: dict[str, Any]) -> Iterator[results.Row]:
    told = {name.replace("_", " "): str(value) for name, value in origin.items()}
    for settings in _recommenders(config):
        told[f"recommender {settings.backbone}"] = settings.model_dump_json(exclude={"backbone"})
    for name, text in told.items():
        yield {names.PART: names.PROTOCOL, names.METRIC: name, names.DETAIL: text}
    facts = {f"{name} (split)": float(count) for name, count in split.counts.items()}
    facts["false-drop budget"] = config.decision.false_drop_budget
    facts["folds of the cleaning"] = config.evaluate.folds
    facts["draws of the noise"] = len(_draws(config))
    for name, value in facts.items():
        yield {names.PART: names.PROTOCOL, names.METRIC: name, names.VALUE: float(value)}


def _table(config: Config, lake: Lake, rows: list[results.Row]) -> pl.DataFrame:
    shared = {
        names.DATASET: "+".join(config.sources) or lake.root.rstrip("/").rsplit("/", 1)[-1],
        names.SPLIT: config.evaluate.split,
        names.TIES: f"{config.sequence.ties} (seed {config.sequence.seed})",
    }
    return results.frame_of({**shared, **row} for row in rows)


def _write(folder: str, table: pl.DataFrame) -> None:
    """The table first: report and pictures are made from it alone."""
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    files.write_bytes(files.join(folder, places.RESULTS), buffer.getvalue())
    pictures = plots(table)
    for name, content in pictures.items():
        files.write_bytes(files.join(folder, name), content)
    report = markdown(table, list(pictures))
    files.write_bytes(files.join(folder, REPORT), report.encode())
    logger.info("report: %s", files.join(folder, REPORT))
