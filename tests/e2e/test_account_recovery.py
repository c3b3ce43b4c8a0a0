"""A scramble and its users: skipped users, recovery by forgot-password, and refused pools."""

from contextlib import suppress

from tests.crash.test_resume import resume
from tests.e2e.campaigns import names, write_campaign, write_names
from tests.e2e.command import POOL, REGION, SET, Command, assert_they_agree
from tests.sim import Simulator
from tests.sim.clients import cognito
from tests.sim.recovery import CODE, client_id

FAST = '[pace]\nrate = "none"\nmax_wait = 0.2\n'
NEW = "Chosen-by-the-user-1-and-long-enough"
SHUT = {"AccountRecoverySetting": {"RecoveryMechanisms": [{"Priority": 1, "Name": "admin_only"}]}}
USERS = {
    "mail": {"email": "a@x.example", "email_verified": "true"},
    "call": {"phone_number": "+15550100", "phone_number_verified": "true"},
    "lost": {"email": "b@x.example", "email_verified": "false"},
}


def recover(sim: Simulator, username: str) -> bool:
    """Return whether a user who forgot the password can choose another one."""
    client, app = cognito(sim.url, region=REGION), client_id(POOL)
    with suppress(client.exceptions.InvalidParameterException):
        client.forgot_password(ClientId=app, Username=username)
        client.confirm_forgot_password(ClientId=app, Username=username, ConfirmationCode=CODE, Password=NEW)
        return True
    return False


def test_scrambled_users_can_recover_and_others_are_skipped(bulkreset: Command, sim: Simulator) -> None:
    sms = {"SmsConfiguration": {"SnsCallerArn": "arn:aws:iam::123456789012:role/sms"}}
    sim.add_pool(POOL, [{"username": name, "attributes": has} for name, has in USERS.items()], extra=sms)
    job = write_campaign(bulkreset, write_names(bulkreset.home, USERS), permanent=True, more=FAST, plan="")
    ran = bulkreset("run", job, "--yes")
    assert (ran.code, ran.summary["counts"]) == (0, {"set": 2, "skipped": 1})
    assert {row["username"]: (row["code"], row["recovery"]) for row in ran.report} == {
        "mail": ("", "email"),
        "call": ("", "phone"),
        "lost": ("unrecoverable", "none"),
    }
    assert "1 by e-mail, 1 by SMS" in ran.stderr
    assert "1 user is skipped: the pool cannot send them a code" in ran.stderr
    assert_they_agree(ran, sim)
    assert {name: recover(sim, name) for name in USERS} == {"mail": True, "call": True, "lost": False}


def test_scramble_of_a_pool_without_forgot_password_is_refused_and_nothing_is_sent(
    bulkreset: Command, sim: Simulator
) -> None:
    users = [{"username": name, "attributes": USERS["mail"]} for name in names(3)]
    sim.add_pool(POOL, users, extra=SHUT)
    input_ = write_names(bulkreset.home, names(3))
    job = write_campaign(bulkreset, input_, permanent=True, more=FAST, plan="")
    for argv in (["--yes"], ["--dry-run"]):
        ran = bulkreset("run", job, *argv)
        assert ran.code == 2
        assert "A scramble would lock out every user of" in ran.stderr
        assert "admin_only" in ran.stderr
    assert [call.operation for call in sim.calls() if call.operation in {SET, "ListUsers"}] == []
    accepted = write_campaign(
        bulkreset, input_, permanent=True, more=f"{FAST}[campaign]\naccept_lockout = true\n", plan=""
    )
    ran = bulkreset("run", accepted, "--yes")
    assert (ran.code, ran.summary["counts"]) == (0, {"set": 3})
    assert "3 users cannot recover without an administrator" in ran.stderr
    assert {row["recovery"] for row in ran.report} == {"none"}
    assert not any(recover(sim, name) for name in names(3))


def test_pool_that_was_shut_after_the_plan_stops_the_resumed_scramble(bulkreset: Command, sim: Simulator) -> None:
    users = [{"username": name, "attributes": USERS["mail"]} for name in names(4)]
    sim.add_pool(POOL, users)
    job = write_campaign(bulkreset, write_names(bulkreset.home, names(4)), permanent=True, more=FAST, plan="")
    ran = bulkreset("run", job, "--yes", "--limit", "2")
    assert (ran.code, len(sim.calls(SET))) == (5, 2)
    sim.add_pool(POOL, users, extra=SHUT)
    resumed = resume(bulkreset, ran.run_dir)
    assert (resumed.code, len(sim.calls(SET))) == (2, 2)
    assert "A scramble would lock out every user" in resumed.stderr
