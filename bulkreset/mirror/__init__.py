"""The mirror: a continuous copy of a run's journal in S3, from which another machine can restore the run."""
