"""A bare loop of `LLM.embed()`, to compare with. Runs in the interpreter of vLLM.

    PYTHON -I bare_vllm.py SETTINGS

SETTINGS is the JSON that our own worker is given. Each line on stdin names a file with a JSON list
of texts; each line on stdout says what embedding them in one call took.
"""

import json
import os
import sys
import time


def main() -> None:
    """Load the model, then embed what is asked for."""
    from vllm import LLM  # noqa: PLC0415
    from vllm.config import PoolerConfig  # noqa: PLC0415

    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    settings = json.loads(sys.argv[1])
    llm = LLM(
        model=settings["model"],
        runner="pooling",
        convert="embed",
        dtype=settings["dtype"],
        max_model_len=settings["max_tokens"],
        max_num_batched_tokens=settings["batch_tokens"],
        pooler_config=PoolerConfig(seq_pooling_type=settings["pooling"].upper()),
        disable_log_stats=True,
        **settings["options"],
    )
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin:
        with open(line.strip(), encoding="utf-8") as stream:
            texts = json.load(stream)
        cpu, start = time.process_time(), time.perf_counter()
        found = llm.embed(texts, use_tqdm=False, tokenization_kwargs={"truncate_prompt_tokens": -1})
        vectors = [output.outputs.embedding for output in found]
        seconds = time.perf_counter() - start
        tokens = sum(len(output.prompt_token_ids) for output in found)
        took = {"seconds": seconds, "cpu": time.process_time() - cpu, "tokens": tokens}
        assert len(vectors) == len(texts)
        print(json.dumps(took), file=out, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
