"""RePlay checks and splits an export: facts as JSON on the last line.

Usage: python replay_loads.py FOLDER PART
"""

import json
import sys

import pandas as pd
from replay.data import Dataset, FeatureHint, FeatureInfo, FeatureSchema, FeatureType
from replay.splitters import LastNSplitter

folder, part = sys.argv[1:]
schema = FeatureSchema(
    [
        FeatureInfo("query_id", FeatureType.CATEGORICAL, FeatureHint.QUERY_ID),
        FeatureInfo("item_id", FeatureType.CATEGORICAL, FeatureHint.ITEM_ID),
        FeatureInfo("rating", FeatureType.NUMERICAL, FeatureHint.RATING),
        FeatureInfo("timestamp", FeatureType.NUMERICAL, FeatureHint.TIMESTAMP),
    ]
)
interactions = pd.read_parquet(f"{folder}/{part}.parquet")
dataset = Dataset(schema, interactions, check_consistency=True, categorical_encoded=True)
train, test = LastNSplitter(1, divide_column="query_id", query_column="query_id").split(
    interactions
)
print(
    json.dumps(
        {
            "rows": len(dataset.interactions),
            "users": dataset.query_count,
            "items": dataset.item_count,
            "last": len(test),
            "rest": len(train),
        }
    )
)
