"""RecTools loads an export and trains SASRec on it for an epoch: facts as JSON on the last line.

Usage: python rectools_trains.py FOLDER PART
"""

import json
import sys

import pandas as pd
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

folder, part = sys.argv[1:]
interactions = pd.read_parquet(f"{folder}/{part}.parquet")
dataset = Dataset.construct(interactions)
model = SASRecModel(epochs=1, n_factors=16, n_heads=2, n_blocks=1, session_max_len=20)
model.fit(dataset)
users = interactions[Columns.User].unique()[:3]
found = model.recommend(users=users, dataset=dataset, k=5, filter_viewed=False)
print(
    json.dumps(
        {
            "rows": len(dataset.interactions.df),
            "users": dataset.user_id_map.size,
            "items": dataset.item_id_map.size,
            "weights": float(dataset.interactions.df[Columns.Weight].sum()),
            "recommended": found[Columns.Item].tolist(),
        }
    )
)
