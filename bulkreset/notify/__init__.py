"""Telling: whoever is not there hears how a run ended, by messages and by metrics."""
