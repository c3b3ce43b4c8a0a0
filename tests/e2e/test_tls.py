"""The endpoint's certificate: trusted, refused, or not checked, as the options say."""

import json
import socket
from pathlib import Path

import pytest

from tests.e2e.command import POOL, SET, Command, people, write_csv
from tests.e2e.test_confirmation import at_a_terminal
from tests.sim import Simulator


def test_unknown_certificate_stops_the_run_before_a_password_is_sent(
    tmp_path: Path, bulkreset: Command, sim: Simulator, front: str
) -> None:
    ran = bulkreset.reset(write_csv(tmp_path / "in.csv", people(5)), "--endpoint-url", front)
    assert ran.code == 3
    assert ran.summary["counts"] == {}  # it stops before the users are looked up
    assert sim.calls(SET) == []
    (sentence,) = ran.error_lines
    assert f"The certificate of {front} could not be verified" in sentence
    assert "--ca-bundle" in sentence
    assert "--no-check-users" not in sentence


def test_unknown_certificate_stops_a_run_without_the_check_too(
    tmp_path: Path, bulkreset: Command, sim: Simulator, front: str
) -> None:
    input_ = write_csv(tmp_path / "in.csv", people(5))
    ran = bulkreset.reset(input_, "--endpoint-url", front, "--no-check-users")
    assert ran.code == 3
    assert sim.calls(SET) == []
    assert f"The certificate of {front} could not be verified" in ran.error_lines[0]


@pytest.mark.parametrize("name", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_ca_bundle_that_is_missing_is_named_before_anything_is_sent(
    tmp_path: Path, bulkreset: Command, sim: Simulator, front: str, name: str
) -> None:
    gone = tmp_path / "gone.pem"
    input_ = write_csv(tmp_path / "in.csv", people(1))
    ran = bulkreset.reset(input_, "--endpoint-url", front, env={name: str(gone)})
    assert ran.code == 2
    assert sim.calls() == []
    (sentence,) = ran.error_lines
    assert f"The CA bundle {gone} cannot be used: No such file or directory." in sentence
    assert name in sentence


def test_proxy_that_is_dead_is_named(tmp_path: Path, bulkreset: Command, sim: Simulator, front: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    input_ = write_csv(tmp_path / "in.csv", people(1))
    proxy = {"HTTPS_PROXY": f"http://me:hidden@127.0.0.1:{port}", "NO_PROXY": "", "no_proxy": ""}
    ran = bulkreset.reset(input_, "--endpoint-url", front, env=proxy)
    assert ran.code == 3
    assert sim.calls(SET) == []
    (sentence,) = ran.error_lines
    assert f"127.0.0.1:{port} gives no connection to {front}" in sentence
    assert "hidden" not in sentence
    assert "--no-check-users" not in sentence


def test_endpoint_that_refuses_connections_is_named(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    ran = bulkreset.reset(write_csv(tmp_path / "in.csv", people(1)), "--endpoint-url", url)
    assert ran.code == 3
    assert sim.calls(SET) == []
    (sentence,) = ran.error_lines
    assert f"Cannot connect to {url}." in sentence
    assert "--no-check-users" not in sentence


def test_certificate_of_the_ca_bundle_is_trusted(
    tmp_path: Path, bulkreset: Command, sim: Simulator, front: str, certificate: Path
) -> None:
    rows = people(3)
    input_ = write_csv(tmp_path / "in.csv", rows)
    ran = bulkreset.reset(input_, "--endpoint-url", front, "--ca-bundle", certificate)
    assert (ran.code, ran.error_lines) == (0, [])
    assert sim.passwords(POOL) == dict(rows)
    assert "NOT ENCRYPTED" not in ran.stderr


def test_no_verify_ssl_asks_for_no_certificate(tmp_path: Path, bulkreset: Command, sim: Simulator, front: str) -> None:
    rows = people(3)
    ran = bulkreset.reset(write_csv(tmp_path / "in.csv", rows), "--endpoint-url", front, "--no-verify-ssl")
    assert (ran.code, ran.error_lines) == (0, [])
    assert sim.passwords(POOL) == dict(rows)


def test_aws_ca_bundle_of_the_environment_is_trusted_too(
    tmp_path: Path, bulkreset: Command, sim: Simulator, front: str, certificate: Path
) -> None:
    rows = people(2)
    input_ = write_csv(tmp_path / "in.csv", rows)
    ran = bulkreset.reset(input_, "--endpoint-url", front, env={"AWS_CA_BUNDLE": str(certificate)})
    assert (ran.code, ran.error_lines) == (0, [])
    assert sim.passwords(POOL) == dict(rows)


def with_mfa(folder: Path) -> dict[str, str | None]:
    """Return an environment in which the profile `nightly` asks for an MFA code."""
    config = folder / "config"
    config.write_text(
        "[profile keys]\naws_access_key_id = AKID\naws_secret_access_key = secret\n"
        "[profile nightly]\nrole_arn = arn:aws:iam::123456789012:role/reset\nsource_profile = keys\n"
        "mfa_serial = arn:aws:iam::123456789012:mfa/me\n"
    )
    return {"AWS_CONFIG_FILE": str(config)}


def test_profile_with_mfa_is_refused_without_a_terminal(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    input_ = write_csv(tmp_path / "in.csv", people(1))
    ran = bulkreset.reset(input_, "--profile", "nightly", "--log-format", "json", env=with_mfa(tmp_path))
    assert ran.code == 2
    assert sim.calls() == []
    ended = json.loads(ran.stderr.splitlines()[-1])
    assert (ended["event"], ended["exit_code"]) == ("ended", 2)
    assert "asks for an MFA code, and there is no terminal" in ended["message"]


def test_code_of_a_profile_with_mfa_is_requested_once(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    input_ = write_csv(tmp_path / "in.csv", people(2))
    argv = (*bulkreset.against(input_), "--yes", "--profile", "nightly")
    with at_a_terminal(bulkreset, argv, env=with_mfa(tmp_path)) as person:
        assert "arn:aws:iam::123456789012:mfa/me" in person.read_until("mfa/me")
        assert sim.calls() == []
        person.type("904417\n")
        ran = person.end()
    assert ran.code == 0, ran.stdout
    kept = [path for path in ran.run_dir.rglob("*") if path.is_file()]
    assert not [path for path in kept if b"904417" in path.read_bytes()]
    assert ran.stdout.count("mfa/me") == 1
    (role,) = sim.calls("AssumeRole")
    assert role.pool.endswith("role/reset")
    assert sim.passwords(POOL) == dict(people(2))
