"""Tests of lanes on a cluster: the cluster inside one process, and on Dask's own command lines."""
