"""The minimum work of a plan: read a CSV with pyarrow, write one SQLite row for each of its rows, and a CSV of them.

Takes the input and a new folder. Nothing is validated.
"""

import csv
import sqlite3
import sys
from pathlib import Path

import pyarrow.csv


def main(source: Path, folder: Path) -> None:
    """Write the journal and the report of an input."""
    folder.mkdir()
    journal = sqlite3.connect(folder / "journal.sqlite")
    journal.execute("CREATE TABLE rows (row INTEGER PRIMARY KEY, username TEXT NOT NULL, status TEXT NOT NULL)")
    first = 1
    with pyarrow.csv.open_csv(source) as batches:
        for batch in batches:
            names = batch.column("username").to_pylist()
            journal.executemany("INSERT INTO rows VALUES (?, ?, 'ready')", enumerate(names, first))
            first += len(names)
    journal.commit()
    with (folder / "report.csv").open("w", newline="", encoding="utf-8") as file:
        report = csv.writer(file)
        report.writerow(("row", "username", "status"))
        report.writerows(journal.execute("SELECT row, username, status FROM rows ORDER BY row"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
