"""The version, in one place: the package, its metadata, what it tells AWS and what a run writes down all take it from here."""

__version__ = "0.1.0"
