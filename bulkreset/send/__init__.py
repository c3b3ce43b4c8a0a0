"""Sending: pacers, workers, lanes and the coordinator that feeds the lanes."""
