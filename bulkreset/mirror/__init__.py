"""The mirror: a run's journal kept in S3 as it grows, and made anew from there on another machine."""
