"""Open an input file of any known format and read its rows in batches, in constant memory."""

from pathlib import Path

from bulkreset.errors import InputError
from bulkreset.input.base_reader import InputReader
from bulkreset.input.batch import CARRIED, carries_all
from bulkreset.input.csv_reader import CsvReader
from bulkreset.input.decrypt import InputContent
from bulkreset.input.file_kinds import ENDINGS, has_known_name
from bulkreset.input.format_detection import not_as_named, sniffed_ending
from bulkreset.input.jsonl_reader import JsonLinesReader
from bulkreset.input.location import InputFile, LocalFile
from bulkreset.input.partitions import partition_columns
from bulkreset.job import InputConfig, Location


def open_rows(
    spec: InputConfig, place: InputFile | None = None, *, with_passwords: bool = True, origin: Location | None = None
) -> InputReader:
    """Return a reader of one file: `place`, or the file in `spec`.

    The format is that of `spec`, or of the file's name, or of its first bytes if the name gives none. `origin` is the
    path whose directory names are read as columns, if the file was moved since. Raises InputError if the file does not
    exist or cannot be opened or decrypted.
    """
    named = spec.columns
    if not with_passwords:
        spec = spec.model_copy(update={"columns": spec.columns.model_copy(update={"password": None})})
    place = place or LocalFile(Path(spec.file))
    spec = spec.model_copy(update={"path": place.where})
    content = InputContent(spec, place)
    begins = content.check()
    if not (spec.format or has_known_name(content.name)):
        content.name += sniffed_ending(content.beginning())
    kind: str = spec.format or next((kind for kind, ends in ENDINGS.items() if content.name.endswith(ends)), "csv")
    if wrong := not_as_named(content.name, begins, is_parquet=kind == "parquet"):
        raise InputError(f"The input {place.where} is {wrong[1].name}, not {wrong[0]}.", wrong[1].advice)
    values = partition_columns(place.where if origin is None else origin, named)
    if carries_all(spec):
        values |= {CARRIED + getattr(named, field): value for field, value in values.items()}
    if kind != "parquet":
        return (JsonLinesReader if kind == "jsonl" else CsvReader)(spec, content, values)
    from bulkreset.input.parquet_reader import ParquetReader  # noqa: PLC0415  (only Parquet needs pyarrow)

    return ParquetReader(spec, content, values)
