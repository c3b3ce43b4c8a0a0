"""The run directory, which contains all files that one run writes and is locked by the process that runs it."""

import fcntl
import glob
import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Self

from bulkreset.errors import BulkresetError, Busy, RecordError, RunDirError
from bulkreset.files import sync_directory
from bulkreset.text import quoted

RUNS = Path("runs")  # where a run directory is created if none is named
JOURNAL = "journal.sqlite"
LOOKS = 5
_reserved: set[Path] = set()  # empty directories that this process made for its next run
_TOKEN = "[0-9a-f]" * 8  # random, because process IDs repeat in containers
_HOLDER = ".holder.json"  # where the process runs that holds the lock; a copied directory has a copy of it
_STAGES = {JOURNAL, *(f"{JOURNAL}-{part}" for part in ("wal", "shm", "journal")), "journal.mark", ".base.gz"}


class RunMissing(RunDirError):
    """The run does not exist."""


class RunDir:
    """A run directory and its lock, which ends with the process. Directories have mode 0700, files 0600."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path / JOURNAL
        self.page = path / "report.html"
        self.summary = path / "summary.json"
        self.log = path / "log.jsonl"
        self.verify_report = path / "verify.csv"
        self.user_store = path / "users.sqlite"
        self.passwords = path / "passwords"
        self.redaction_key = path / "redaction.key"
        self._lock: int | None = None

    @classmethod
    def create(cls, path: Path, fill: Callable[[Path], None]) -> Self:
        """Create and lock a new directory; `fill` creates the journal at the path it is given.

        The directory gets its final name only after the journal is in it, so every directory with that name can be
        resumed. Unfinished directories of killed processes are deleted. Raises RunDirError if it exists or cannot be
        created.
        """
        try:
            require_free(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(path)
            staged = cls(path.with_name(f".{path.name}.{secrets.token_hex(4)}"))
            staged.path.mkdir(mode=0o700)
            staged.lock_without_note()
            try:
                fill(staged.journal)
                staged.path.rename(path)  # replaces a reserved directory, because it is empty
                _reserved.discard(path)
                sync_directory(path.parent)
            except BaseException as error:
                staged.discard()  # it contains nothing that could be resumed
                if isinstance(error, RecordError):
                    message = error.message.replace(str(staged.path), str(path))
                    raise RunDirError(message, "Check the disk's space and rights, then run again.") from None
                raise
        except OSError as error:
            raise RunDirError(
                f"The run directory {path} cannot be created: {error.strerror}.", "Choose another --run-dir."
            ) from None
        made = cls(path)
        made._lock = staged._lock
        made._note_holder()
        return made

    @classmethod
    def open(cls, path: Path) -> Self:
        """Return an existing directory without locking it. Raises RunDirError if it is not a run directory."""
        home = cls(path)
        try:
            if not home.journal.is_file():
                from bulkreset.journal.wrong_path import not_a_run_error  # noqa: PLC0415  (it imports this module)

                raise not_a_run_error(path)
        except OSError as error:
            raise home._unusable(error) from None
        return home

    def is_held(self) -> bool:
        """Return whether a process holds the lock now. Raises RunDirError if the directory cannot be used."""
        try:
            directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise self._unusable(error) from None
        try:
            fcntl.flock(directory, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(directory)
        return False

    def lock(self, *, moved: bool = False) -> None:
        """Lock the directory until `release` or the end of this process.

        Raises Busy if another process holds it, or if it may hold the directory that this one is a copy of, unless the
        user says that it was `moved`. Raises RunDirError if the directory cannot be used.
        """
        with ExitStack() as stack:
            with suppress(OSError):  # a run without a log takes no orders
                stack.enter_context(orders_locked(self.path))
            self.lock_without_note()
            try:
                if not moved:
                    self._require_no_other_place()
            except BaseException:
                self.unlock()
                raise
            self._note_holder()

    def lock_without_note(self) -> None:
        """Lock the directory as `lock` does, and write nothing into it."""
        # Lock the directory itself: a lock file could be left behind, copied or deleted.
        try:
            self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise self._unusable(error) from None
        for _ in range(LOOKS):  # a process that only tests the lock, like `status`, releases it at once
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                time.sleep(0.02)
            else:
                return
        os.close(self._lock)
        self._lock = None
        raise Busy(
            f"Another process is working on the run {self.path}.",
            f"Wait for it, or see: bulkreset status {quoted(self.path)}.",
        )

    def _require_no_other_place(self) -> None:
        """Raise Busy if this is a copy of a directory whose process may be alive.

        The lock belongs to the directory itself, so a copy has another one. The note of the last process is deleted at
        its normal end, and copied if it was alive then. The note is from this directory if the inode is the same.
        """
        held = self._read_holder()
        here = _place(self)
        if not held or held["inode"] == here["inode"]:
            return
        if held["boot"] == here["boot"]:  # the same machine, without a restart since then
            with suppress(RunDirError):
                if not RunDir.open(Path(held["path"])).is_held():
                    return
        elif (held["machine"], held["host"]) == (here["machine"], here["host"]) and held["machine"]:
            return  # the machine was restarted, so no process from then is alive
        raise Busy(
            f"{self.path} is a copy of a run that may still be sending on {held['host']}, in {held['path']}.",
            "Resume it there. If that process has ended and only this copy will continue:"
            f" bulkreset resume {quoted(self.path)} --moved.",
        )

    def _read_holder(self) -> dict[str, str]:
        """Return the note of the last process, {} if there is none or it is unreadable."""
        try:
            found = json.loads((self.path / _HOLDER).read_text(encoding="utf-8"))
            places = {name: str(found[name]) for name in ("boot", "machine", "host", "path", "inode")}
            return {**places, "execution": str(found.get("execution", ""))}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def _note_holder(self, execution: str = "") -> None:
        """Write where this process runs. If the disk is full there is no note: the run itself will report that."""
        with suppress(OSError):
            flags = os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW
            with os.fdopen(os.open(self.path / _HOLDER, flags, 0o600), "w", encoding="utf-8") as file:
                json.dump({**_place(self), "execution": execution}, file)
                file.truncate()  # only now: overwriting needs no room

    def take_orders(self, execution: str) -> None:
        """Note the begin of the execution for which this process takes orders, "" for none.

        Returns after the orders that are just being given: later ones see the note.
        """
        with suppress(OSError), orders_locked(self.path):
            self._note_holder(execution)

    def takes_orders(self, execution: str) -> bool:
        """Return whether a process works on this execution and takes orders for it."""
        return self.is_held() and self._read_holder().get("execution") == execution

    def open_log(self) -> IO[str]:
        """Open the log for appending. Raises RunDirError if that fails."""
        try:
            return os.fdopen(os.open(self.log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), "a", encoding="utf-8")
        except OSError as error:
            raise self._unusable(error) from None

    def _unusable(self, error: OSError) -> RunDirError:
        return RunDirError(f"The run directory {self.path} cannot be used: {error.strerror}.", "Check its rights.")

    def release(self) -> None:
        """Release the lock, after the note of its process is deleted."""
        if self._lock is not None:
            with suppress(OSError):
                (self.path / _HOLDER).unlink(missing_ok=True)
        self.unlock()

    def unlock(self) -> None:
        """Release the lock, and leave the note as it is."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def discard(self) -> None:
        """Release the lock and delete the directory, which contains nothing worth keeping."""
        self.release()
        for entry in sorted(self.path.iterdir()):
            if entry.is_dir():  # the folder of generated passwords, which is still empty
                entry.rmdir()
            else:
                entry.unlink()
        self.path.rmdir()


@contextmanager
def orders_locked(folder: Path) -> Iterator[None]:
    """Let no order be given, and no process begin to work on the run, in the block. Raises OSError.

    It is a lock on the run's log, which exists as long as the run.
    """
    opened = os.open(folder / "log.jsonl", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def require_free(path: Path) -> None:
    """Raise RunDirError if a new run cannot use this path."""
    if path in _reserved or not (path.exists() or path.is_symlink()):
        return
    if not RunDir(path).journal.exists():
        raise RunDirError(
            f"{path} already exists, and is not a run.", "Choose a new path for --run-dir; it will be created."
        )
    if _is_finished_dry_run(path):
        raise RunDirError(
            f"The run directory {path} already exists: it is a complete dry run.",
            f"Choose a new path for --run-dir. To run what was planned there, add --approved {quoted(path)}.",
        )
    if RunDir(path).is_held():
        raise RunDirError(
            f"The run directory {path} already exists: another process is working on it.", "Choose another --run-dir."
        )
    raise RunDirError(
        f"The run directory {path} already exists.",
        f"To continue that run: bulkreset resume {quoted(path)}. For a new run choose a new --run-dir.",
    )


def _is_finished_dry_run(path: Path) -> bool:
    """Return whether the run is a finished dry run; False if the journal is unreadable (resume reports why)."""
    from bulkreset.journal.journal import Journal  # noqa: PLC0415  (resume and status do not need it here)

    try:
        state = Journal.state_in(RunDir(path).journal)
    except BulkresetError:
        return False
    return state.is_dry_run and state.is_finished


def new_path(job: str) -> Path:
    """Return a new run directory for a job, in RUNS. It has a number if two runs began in the same second."""
    path = RUNS / f"{job}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    number = 1
    while (named := path if number == 1 else path.with_name(f"{path.name}-{number}")).exists():
        number += 1
    return named


def reserve_path(job: str) -> Path:
    """Return a new run directory for a job, like `new_path`, that no other process gets.

    The directory is empty until the run is created. `give_back` deletes it if no run is created.
    """
    while True:
        path = new_path(job)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(mode=0o700)
        except FileExistsError:
            if path.parent.is_dir():
                continue
            return path  # creating the run reports the error
        except OSError:
            return path  # as above
        _reserved.add(path)
        return path


def give_back(path: Path) -> None:
    """Delete a reserved directory that was not used."""
    if path in _reserved:
        _reserved.discard(path)
        with suppress(OSError):  # something else is in it by now
            path.rmdir()
            path.parent.rmdir()  # it may have been made for this run, and is then empty


def _remove_leftovers(path: Path) -> None:
    """Delete unfinished directories that killed processes left for this name. A live process locks its directory."""
    for entry in path.absolute().parent.glob(f".{glob.escape(path.name)}.{_TOKEN}"):
        left = RunDir(entry)
        with suppress(OSError, BulkresetError):  # an entry that cannot be deleted does no harm
            left.lock_without_note()
            if not entry.is_symlink() and {file.name for file in entry.iterdir()} <= _STAGES:
                left.discard()
        left.unlock()


def _place(home: RunDir) -> dict[str, str]:
    """Return where this process works on a run directory."""
    return {
        "boot": boot_id(),
        "machine": _first_line("/etc/machine-id"),
        "host": socket.gethostname(),
        "pid": str(os.getpid()),
        "path": str(home.path.absolute()),
        "inode": str(home.path.stat().st_ino),
    }


def boot_id() -> str:
    """Return what identifies this machine since it was started; "" if the system does not say it."""
    return _first_line("/proc/sys/kernel/random/boot_id")


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
