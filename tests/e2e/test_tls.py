"""The endpoint's certificate: trusted, refused, or not asked for, as the options say."""

from pathlib import Path

from tests.e2e.command import POOL, SET, Command, people, write_csv
from tests.sim import Simulator


def test_unknown_certificate_stops_the_run_before_a_password_is_sent(
    tmp_path: Path, bulkreset: Command, sim: Simulator, front: str
) -> None:
    ran = bulkreset.reset(write_csv(tmp_path / "in.csv", people(5)), "--endpoint-url", front)
    assert ran.code == 3
    assert ran.summary["counts"] == {"unprocessed": 5}
    assert sim.calls(SET) == []
    (sentence,) = ran.complaints
    assert "certificate" in sentence
    assert "--ca-bundle" in sentence


def test_certificate_of_the_ca_bundle_is_trusted(
    tmp_path: Path, bulkreset: Command, sim: Simulator, front: str, certificate: Path
) -> None:
    rows = people(3)
    input_ = write_csv(tmp_path / "in.csv", rows)
    ran = bulkreset.reset(input_, "--endpoint-url", front, "--ca-bundle", certificate)
    assert (ran.code, ran.complaints) == (0, [])
    assert sim.passwords(POOL) == dict(rows)
    assert "NOT ENCRYPTED" not in ran.stderr


def test_no_verify_ssl_asks_for_no_certificate(tmp_path: Path, bulkreset: Command, sim: Simulator, front: str) -> None:
    rows = people(3)
    ran = bulkreset.reset(write_csv(tmp_path / "in.csv", rows), "--endpoint-url", front, "--no-verify-ssl")
    assert (ran.code, ran.complaints) == (0, [])
    assert sim.passwords(POOL) == dict(rows)


def test_aws_ca_bundle_of_the_environment_is_trusted_too(
    tmp_path: Path, bulkreset: Command, sim: Simulator, front: str, certificate: Path
) -> None:
    rows = people(2)
    input_ = write_csv(tmp_path / "in.csv", rows)
    ran = bulkreset.reset(input_, "--endpoint-url", front, env={"AWS_CA_BUNDLE": str(certificate)})
    assert (ran.code, ran.complaints) == (0, [])
    assert sim.passwords(POOL) == dict(rows)
