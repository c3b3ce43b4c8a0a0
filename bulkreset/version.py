"""The version, in one place: for the package, its metadata, the user agent and the files of a run."""

__version__ = "0.1.0"
