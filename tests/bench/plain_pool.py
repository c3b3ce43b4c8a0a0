"""The comparison for bulkreset: pandas, boto3 and a thread pool, as in a simple script.

Takes INPUT POOL ENDPOINT THREADS and, optionally, the mode of botocore's retries (10 attempts). Prints as JSON the
results of the rows, the seconds of sending and the rows per second.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pandas as pd
from botocore.config import Config
from botocore.exceptions import ClientError


def main(source: str, pool: str, endpoint: str, threads: int, mode: str | None = None) -> None:
    """Set every row's password, as fast as possible."""
    retries: Any = {"mode": mode, "total_max_attempts": 10} if mode else None
    config = Config(max_pool_connections=threads, retries=retries)
    client = boto3.client("cognito-idp", endpoint_url=endpoint, config=config)
    frame = pd.read_csv(source, dtype=str, keep_default_na=False)

    def send(row: tuple[str, str]) -> bool:
        try:
            client.admin_set_user_password(UserPoolId=pool, Username=row[0], Password=row[1], Permanent=True)
        except ClientError:  # a script counts, and continues
            return False
        return True

    began = time.monotonic()
    with ThreadPoolExecutor(threads) as executor:
        done = sum(executor.map(send, frame[["username", "password"]].itertuples(index=False, name=None)))
    took = time.monotonic() - began
    figures = {"set": done, "seconds": round(took, 2), "rows_per_second": round(done / took, 1)}
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), *sys.argv[5:6])
