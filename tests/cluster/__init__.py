"""Tests of lanes on a cluster: inside one process, and with Dask's own command lines."""
