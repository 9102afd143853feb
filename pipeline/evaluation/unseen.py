"""Detection among users that no model was trained on, whose sequences alone hold known noise.

The log that is learned from stays as it is, as in production. `cleaning.py` puts noise everywhere:
there the models learn from noise, too.
"""

from dataclasses import dataclass
from functools import cached_property

import polars as pl

from pipeline import columns as col
from pipeline.config import Config
from pipeline.evaluation.cleaning import fold, judge
from pipeline.evaluation.names import ROW
from pipeline.evaluation.noise import Noise
from pipeline.models.batches import Prefixes
from pipeline.models.names import COUNT, SEQUENCE
from pipeline.models.noise import inject
from pipeline.models.thresholds import stratum_of
from pipeline.models.training import Learned, learn

FOLD = 0  # the users that are judged


@dataclass(frozen=True)
class Unseen:
    """One model, and the whole sequences of the users that it was trained without.

    `frame` has the columns of `pipeline.sequences.COLUMNS`, sorted by user in sequence order.
    """

    config: Config
    frame: pl.DataFrame
    vectors: pl.DataFrame
    prefixes: Prefixes | None = None  # as for `fit_model`

    @cached_property
    def _parts(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        return fold(self.frame.with_row_index(ROW), FOLD, self.config.evaluate.folds)

    @cached_property
    def _learned(self) -> Learned:
        return learn(self.config, self._parts[0], self.vectors, "log", self.prefixes)

    def judged(self, noise: Noise, seed: int) -> pl.DataFrame:
        """The users' rows with this noise, as `detection.detect_rows` takes them.

        Raises UserError: too few users.
        """
        known = self._learned.instruments.vocabulary
        noisy = inject(
            self._parts[1].drop(ROW),
            SEQUENCE,
            known,
            rate=noise.rate,
            seed=seed,
            kinds=(noise.kind,),
            vectors=self.vectors,
        ).with_row_index(ROW)
        told = judge(self._learned, noisy, self.vectors)
        rows = noisy.join(told, on=ROW, maintain_order="left")
        counted = rows.join(known, on=col.ITEM_ID, how="left", maintain_order="left")
        has_text = pl.col(col.ITEM_ID).is_in(self.vectors[col.ITEM_ID].implode())
        stratum = stratum_of(pl.col(COUNT), has_text, self.config.decision.strata)
        return counted.with_columns(stratum.alias(col.STRATUM), pl.col(COUNT).fill_null(0))
