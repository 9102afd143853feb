"""A long table by hand: values that a reader checks by eye."""

import polars as pl

from pipeline.evaluation.results import frame_of

SHARED = {"dataset": "shop", "split": "leave_one_out", "ties": "shuffle (seed 0)"}
NONE, POPULAR = {"noise": "none", "rate": 0.0}, {"noise": "popularity", "rate": 0.2}


def gain(arm: str, value: float, log: dict, **more: object) -> dict:
    row = {"part": "usefulness", "backbone": "sasrec", "arm": arm, "metric": "NDCG", "k": 10}
    return row | {"value": value, "n": 100} | log | more


def difference(arm: str, versus: str, value: float, reach: float, log: dict) -> dict:
    return gain(arm, value, log, versus=versus, low=value - reach, high=value + reach)


def detection(arm: str, metric: str, value: float | None, **more: object) -> dict:
    row = {"part": "detection", "arm": arm, "metric": metric, "value": value, "n": 50}
    return row | POPULAR | more


def removed(arm: str, kind: str, apart: float) -> list[dict]:
    """Of an arm of the ablation whose AUROC is so much apart from .8, and .7 for cold items."""
    whole = [("AUROC", None, 0.8), ("AP", None, 0.5), ("AUROC", "1-5", 0.7)]
    shared = {"part": "ablation"} | POPULAR
    rows = [
        {"arm": "with all", "metric": m, "stratum": s, "value": v, "detail": ""}
        for m, s, v in whole
        if arm == "without signal_surprise"  # once
    ]
    for metric, stratum, value in whole:
        told = {"arm": arm, "metric": metric, "stratum": stratum, "detail": kind}
        rows += [
            told | {"value": value + apart},
            told | {"value": apart, "versus": "with all"},
        ]
    return [shared | row for row in rows]


def table(*, gap_errors: float = 5.0, apart: float = 0.02) -> pl.DataFrame:
    gap = "standard errors of oracle - noisy, NDCG"
    recovered = {"metric": "recovery of NDCG", "low": 0.5, "high": 0.7}
    rows = [
        {"part": "protocol", "metric": "false-drop budget", "value": 0.05},
        {"part": "protocol", "metric": "users (split)", "value": 1234.0},
        {"part": "protocol", "metric": "as of", "detail": "2024-01-20"},
        gain("raw", 0.1, NONE),
        gain("raw", 0.11, NONE, seed=0),
        gain("cleaned", 0.12, NONE),
        difference("cleaned", "raw", apart, 0.01, NONE),
        {"part": "usefulness", "arm": "cleaned", "metric": "rows dropped", "seed": 0}
        | {"value": 0.034, "n": 100}
        | NONE,
        *(
            gain(a, v, NONE, metric="validation NDCG")
            for a, v in (("raw", 0.15), ("cleaned", 0.14))
        ),
        gain("noisy", 0.05, POPULAR),
        gain("noisy", 0.06, POPULAR, metric="validation NDCG"),
        gain("cleaned", 0.09, POPULAR, metric="validation NDCG"),
        *(gain("soft at 0.3", 0.1, POPULAR, metric=m) for m in ("validation NDCG", "NDCG")),
        *(
            difference("soft at 0.3", "noisy", 0.04, reach, POPULAR) | {"metric": metric}
            for metric, reach in (("validation NDCG", 0.05), ("NDCG", 0.01))
        ),
        gain("oracle", 0.2, POPULAR, metric="validation NDCG"),
        gain("cleaned", 0.08, POPULAR),
        gain("oracle", 0.1, POPULAR),
        difference("cleaned", "noisy", 0.03, 0.01, POPULAR),
        difference("oracle", "noisy", 0.05, 0.01, POPULAR),
        gain("cleaned", 0.6, POPULAR, **recovered),
        gain("oracle", gap_errors, POPULAR, metric=gap),
        detection("ours", "AUROC", 0.9),
        detection("ours", "AP", 0.65),
        detection("popularity", "AUROC", 0.5),
        detection("popularity", "AP", 0.15),
        detection("ours", "precision", 0.7),
        detection("ours", "recall", 0.4),
        detection("ours", "false drops", 0.04),
        detection("ours", "false drops", 0.03, stratum="1-5"),
        detection("ours", "AUROC", None, stratum="6-20"),
        *(detection("ours", "precision at recall", 1 - k / 200, k=k) for k in (50, 100)),
        *removed("without signal_surprise", "signal", -0.05),
        *removed("without the alignment loss", "loss", -0.01),
        *removed("without signal_semantic", "signal", -0.2),
    ]
    return frame_of(SHARED | row for row in rows)
