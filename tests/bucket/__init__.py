"""An S3 in a process of its own: moto's, with latency, faults and counts that a test asks for."""

from tests.bucket.handle import BUCKET, Storage, shared_client

__all__ = ["BUCKET", "Storage", "shared_client"]
