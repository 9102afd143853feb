"""Implicit factorizes an export: facts as JSON on the last line.

Usage: python implicit_trains.py FOLDER PART
"""

import json
import sys

import pandas as pd
from implicit.als import AlternatingLeastSquares
from scipy.sparse import load_npz

folder, part = sys.argv[1:]
matrix = load_npz(f"{folder}/{part}.npz")
items = pd.read_parquet(f"{folder}/items.parquet")
model = AlternatingLeastSquares(factors=8, iterations=1, random_state=0, use_gpu=False)
model.fit(matrix, show_progress=False)
found, _ = model.recommend(0, matrix[0], N=5)
print(
    json.dumps(
        {
            "shape": matrix.shape,
            "sum": float(matrix.sum()),
            "recommended": items["item_id"].iloc[found].tolist(),
        }
    )
)
