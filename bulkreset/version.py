"""The version, in one place: the package, its metadata, its requests to AWS and its files take it from here."""

__version__ = "0.1.0"
