"""Columns in the names of directories: dt=2026-11-21/user_pool_id=eu-west-1_Example01/users.csv, as Hive writes them."""

from urllib.parse import unquote

from bulkreset.errors import InputError
from bulkreset.input.batch import FIELDS, fold_name
from bulkreset.job import S3, ColumnsConfig, Location

_EMPTY = "__HIVE_DEFAULT_PARTITION__"  # how Hive writes NULL in the name of a directory
_IN_DIRECTORIES = ("permanent", "user_pool_id")


def partition_columns(where: Location, columns: ColumnsConfig) -> dict[str, str]:
    """Return the value of each of our fields that a directory in the path names.

    Raises InputError if a directory names a username or a password, a field twice, or a field with another spelling.
    Its message never has the value, which may be a password.
    """
    found: dict[str, str] = {}
    directories = where.removeprefix(S3).split("/")[1:-1] if isinstance(where, str) else where.parts[:-1]
    names = {field: getattr(columns, field) or "password" for field in FIELDS}
    for directory in directories:
        key, equals, value = directory.partition("=")
        name = unquote(key).strip()
        like = (it for it, known in names.items() if name == known or fold_name(name) == fold_name(known) != "")
        field = next(like, None)
        if not equals or field is None:
            continue
        if field not in _IN_DIRECTORIES or name != names[field]:
            raise InputError(
                f"A directory of the input {mask_values(where)} is named {name}=…, which would be ignored.",
                f'Rename the directory, or write the column into the files. Directory names may be "{names["permanent"]}" and'
                f' "{names["user_pool_id"]}".',
            )
        text = "" if value == _EMPTY else unquote(value)
        if found.get(field, text) != text:
            raise InputError(
                f"Two directories of the input {mask_values(where)} are named {name}=…, with different values.",
                "Rename one of them.",
            )
        found[field] = text
    return found


def mask_values(where: Location) -> str:
    """Return the path without the values in its directory names, which may be passwords."""
    *directories, name = str(where).split("/")
    return "/".join([*(f"{one.partition('=')[0]}=…" if "=" in one else one for one in directories), name])
