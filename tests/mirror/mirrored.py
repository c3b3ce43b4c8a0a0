"""Read a mirror in S3 as another machine would."""

import json
import tempfile
from contextlib import closing
from pathlib import Path

from bulkreset.journal.journal import Journal
from bulkreset.mirror.restore import restore
from bulkreset.s3 import Bucket
from tests.bucket import BUCKET, Storage


def settled_in(storage: Storage, at: str) -> tuple[set[str], set[str]]:
    """Restore a mirror as another machine would; return the users who are set, and those claimed or in doubt."""
    lease = f"{at}lease.json"
    held = storage.client.get_object(Bucket=BUCKET, Key=lease)["Body"].read() if lease in storage.keys(at) else b""
    storage.client.delete_object(Bucket=BUCKET, Key=lease)  # it is tested elsewhere
    bucket = Bucket()
    bucket.__dict__["client"] = storage.client
    try:
        with tempfile.TemporaryDirectory() as folder:
            restore(f"s3://{BUCKET}/{at}", Path(folder) / "it", bucket)
            with closing(Journal.open(Path(folder) / "it" / "journal.sqlite", read_only=True)) as journal:
                rows = [(found[2], found[3]) for found in journal.read.report_rows(dry_run=False)]
    finally:
        if held:
            storage.put(lease, held)
    return {user for user, status in rows if status == "set"}, {user for user, status in rows if status == "in_doubt"}


def end_lease(storage: Storage, key: str) -> None:
    """Change the lease as if its holder had been dead until its end."""
    held = json.loads(storage.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    storage.put(key, json.dumps(held | {"until": 0.0}).encode())
