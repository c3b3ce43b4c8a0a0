"""Every value of every input format arrives at the service unchanged."""

import csv
import gzip
from pathlib import Path

import pandas as pd
import pytest

from tests.e2e.command import POOL, SAMPLES, SET, Command, assert_they_agree, people, seed, write_csv, write_job
from tests.sim import Simulator

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def _as_written(name: str) -> dict[str, str]:
    with (SAMPLES / f"{name}.csv").open(encoding="utf-8-sig", newline="") as file:
        return {row["username"]: row["password"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("file", ["users.parquet", "tricky.csv"])
def test_run_sets_every_user_of_the_sample_to_its_exact_password(file: str, bulkreset: Command, sim: Simulator) -> None:
    """The other sample of each kind has the same rows: tests/input/test_reader.py."""
    wanted = _as_written(file.partition(".")[0])
    seed(sim, wanted)
    ran = bulkreset.reset(SAMPLES / file, "--rate", "none")
    assert (ran.code, ran.error_lines) == (0, [])
    assert sim.passwords(POOL) == wanted
    assert len(sim.calls(SET)) == len(wanted)
    assert set(ran.column("status")) == {"set"}
    assert ran.column("row") == [str(number) for number in range(1, len(wanted) + 1)]
    cells = ran.column("username")
    assert not any(cell.startswith(_FORMULA) for cell in cells)
    assert all(cell in {name, f"'{name}"} for cell, name in zip(cells, wanted, strict=True))


def test_job_file_names_columns_delimiter_and_encoding_of_a_gzipped_file(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    rows = [("jos\u00e9", "Contrase\u00f1a;1,2"), ("zo\u00eb", "Mot-De-Pass\u00e9.2")]
    header = ("login", "new secret", "password")
    plain = write_csv(
        tmp_path / "in.txt",
        [(name, word, "not this one") for name, word in rows],
        header,
        delimiter=";",
        encoding="cp1252",
    )
    (tmp_path / "in.csv.gz").write_bytes(gzip.compress(plain.read_bytes()))
    job = write_job(
        tmp_path,
        sim.url,
        'path = "in.csv.gz"\ndelimiter = ";"\nencoding = "cp1252"\n'
        'columns = { username = "login", password = "new secret" }',
    )
    ran = bulkreset("run", job, "--yes")
    assert (ran.code, ran.error_lines) == (0, [])
    assert sim.passwords(POOL) == dict(rows)
    assert ran.column("username") == ["jos\u00e9", "zo\u00eb"]


def test_parquet_under_another_name_is_read_if_the_job_gives_its_format(
    tmp_path: Path, bulkreset: Command, sim: Simulator
) -> None:
    rows = people(3)
    pd.DataFrame(rows, columns=["username", "password"]).to_parquet(tmp_path / "export.dat")
    job = write_job(tmp_path, sim.url, 'path = "export.dat"\nformat = "parquet"')
    assert bulkreset("run", job, "--yes").code == 0
    assert sim.passwords(POOL) == dict(rows)


def test_flag_beats_the_job_file(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    write_csv(tmp_path / "planned.csv", [("nobody", "Never-Sent.1")])
    rows = people(2)
    other = write_csv(tmp_path / "other.csv", rows)
    job = write_job(tmp_path, "http://127.0.0.1:9", 'path = "planned.csv"')
    ran = bulkreset("run", job, "--input", other, "--endpoint-url", sim.url, "--permanent", "--yes")
    assert ran.code == 0
    assert sim.passwords(POOL) == dict(rows)
    assert {call.permanent for call in sim.calls(SET)} == {True}
    assert_they_agree(ran, sim)
