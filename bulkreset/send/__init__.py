"""Doing it: the pace, the workers, the lanes and the coordinator that feeds them."""
