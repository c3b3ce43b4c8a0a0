"""Lanes on the workers of a Dask cluster, and the messages between them and the coordinator."""
