"""Set many users' passwords in Amazon Cognito: planned, paced, journalled, resumable."""

from importlib.metadata import version

__version__ = version("bulkreset")
