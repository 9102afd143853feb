"""RecBole loads an export and trains a model on it for an epoch: facts as JSON on the last line.

Usage: python recbole_trains.py FOLDER MODEL [CONFIGURATION]
"""

import json
import sys

from recbole.config import Config
from recbole.data import create_dataset
from recbole.quick_start import run_recbole

folder, model = sys.argv[1:3]
asked = {
    "model": model,
    "dataset": "iadsr",
    "config_file_list": [f"{folder}/{sys.argv[3]}"],
    "config_dict": {
        "data_path": folder,
        "epochs": 1,
        "embedding_size": 16,
        "hidden_size": 16,
        "inner_size": 16,
        "use_gpu": False,
        "show_progress": False,
        "train_neg_sample_args": None if model == "SASRec" else {"distribution": "uniform"},
        "metrics": ["Hit"],
        "topk": [10],
        "valid_metric": "Hit@10",
    },
}
dataset = create_dataset(Config(**asked))
rows = dataset.inter_feat
titles = dataset.item_feat["title"]
facts = {
    "rows": len(rows),
    "users": dataset.user_num - 1,
    "items": dataset.item_num - 1,
    "types": {name: str(dataset.field2type[name].value) for name in dataset.fields()},
    "titles": sorted(str(title) for title in dataset.field2id_token["title"][1:]),
    "user_ids": sorted(str(user) for user in dataset.field2id_token["user_id"][1:]),
    "item_ids": sorted(str(item) for item in dataset.field2id_token["item_id"][1:]),
}
if "item_id_list" in dataset.fields():
    tokens = dataset.field2id_token["item_id"]
    last = rows.iloc[-1]
    facts["last_list"] = [str(tokens[number]) for number in last["item_id_list"]]
facts["test"] = run_recbole(**asked, saved=False)["test_result"]
print(json.dumps(facts))
