"""Tests of what happened: the journal, the reports, the run directory, the log."""
