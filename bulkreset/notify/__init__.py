"""Report how a run ended, by notifications and by metrics."""
