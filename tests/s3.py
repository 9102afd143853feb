"""A real S3 API server (moto's) on loopback, in a process of its own.

Within the tests' process it could wait for the interpreter's lock, held by the client it serves.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import pytest

from tests.processes import eventually, free_port

BUCKET = "lake"


@contextmanager
def s3_server(patch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    """Its host and port, with one empty bucket; endpoint and credentials in the environment."""
    host, port = "127.0.0.1", free_port()
    patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    patch.setenv("AWS_ACCESS_KEY_ID", "test")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):  # deltalake reads one, boto3 the other
        patch.setenv(name, "us-east-1")
    command = [sys.executable, "-m", "moto.server", "-H", host, "-p", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=os.environ.copy(), **quiet) as server:
        try:
            assert eventually(_has_bucket, 120)
            yield host, port
        finally:
            server.kill()


def _has_bucket() -> bool:
    try:
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=BUCKET)
    except Exception:  # whatever boto3 says of a server that does not listen yet
        return False
    return True
