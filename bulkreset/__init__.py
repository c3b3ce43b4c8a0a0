"""Set many users' passwords in Amazon Cognito: planned, paced, journalled, resumable."""


def __getattr__(name: str) -> str:
    """`__version__`, looked up where it is asked for: most commands are over sooner than that takes."""
    if name != "__version__":
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib.metadata import version  # noqa: PLC0415  (as above)

    return version("bulkreset")
