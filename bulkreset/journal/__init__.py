"""The record of a run: the run directory and the journal."""
