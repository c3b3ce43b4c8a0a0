"""An S3 in its own process: moto's, with the latency, faults and counts that a test sets."""

from tests.bucket.handle import BUCKET, Storage, shared_client

__all__ = ["BUCKET", "Storage", "shared_client"]
