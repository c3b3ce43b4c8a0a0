"""Tests of lanes on a cluster: the fleet inside one process, and on Dask's own command lines."""
