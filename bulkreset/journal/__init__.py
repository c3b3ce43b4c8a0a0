"""What happened: the run directory, the journal, the reports and the log."""
