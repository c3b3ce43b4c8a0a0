"""What bulkreset is measured against: pandas, boto3 and a thread pool, as a script would do it.

Takes INPUT POOL ENDPOINT THREADS; prints the seconds of sending and the rows per second as JSON.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
import pandas as pd
from botocore.config import Config


def main(source: str, pool: str, endpoint: str, threads: int) -> None:
    """Set every row's password, as fast as the pool goes."""
    client = boto3.client("cognito-idp", endpoint_url=endpoint, config=Config(max_pool_connections=threads))
    frame = pd.read_csv(source, dtype=str, keep_default_na=False)

    def send(row: tuple[str, str]) -> None:
        client.admin_set_user_password(UserPoolId=pool, Username=row[0], Password=row[1], Permanent=True)

    began = time.monotonic()
    with ThreadPoolExecutor(threads) as executor:
        for _ in executor.map(send, frame[["username", "password"]].itertuples(index=False, name=None)):
            pass
    took = time.monotonic() - began
    sys.stdout.write(json.dumps({"seconds": round(took, 2), "rows_per_second": round(len(frame) / took, 1)}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
