"""moto's S3 in its own process, with the latency, faults and counters that a test sets."""

from tests.bucket.handle import BUCKET, Storage, shared_client

__all__ = ["BUCKET", "Storage", "shared_client"]
