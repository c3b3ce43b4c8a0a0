"""Store standard input in an encrypted file, so that it can be read as often as a run needs."""

import io
from pathlib import Path

from bulkreset.age_encryption import encrypt_stream, load_identities
from bulkreset.errors import InputError, RecordError
from bulkreset.files import atomic_file, require_new


def spool(source: io.BufferedReader, path: Path, identity: Path | None) -> None:
    """Encrypt all of `source` for the keys of `identity`, into the new file `path`.

    Raises InputError if there is no key or no input, RecordError if the file cannot be written. Then no file remains.
    """
    if identity is None:
        raise InputError(
            "Standard input is kept encrypted, and the job has no key for it.",
            'Create a key with age-keygen -o key.txt, and set [input] identity = "key.txt".',
        )
    keys = [it for it in load_identities(identity) if hasattr(it, "to_public")]
    if not keys:
        raise InputError(
            f"The identity file {identity} has no age key, and only such a key says its public key.",
            "Create one with age-keygen -o key.txt, and name it in input.identity.",
        )
    if source.isatty():
        raise InputError("Standard input is a terminal.", "Pipe the input into the command.")
    try:
        if not source.peek(1):
            raise InputError("Standard input is empty.", "Check the program that writes it.")
        path.parent.mkdir(parents=True, exist_ok=True)
        require_new(path)
        with atomic_file(path, new=True) as file:
            encrypt_stream(source, file, [key.to_public() for key in keys])
    except OSError as error:
        raise RecordError(
            f"Standard input cannot be kept in {path}: {error.strerror or error}.", "Check the folder and its space."
        ) from None
