"""cron itself, in its own environment: it starts jobs/schedule/nightly.sh, which prints nothing on success."""

import os
import shutil

import pytest

from tests.e2e.command import LAX, POOL, ROOT, SET, Command, people, write_csv, write_job
from tests.peers.conftest import Tried
from tests.peers.parts import debian_program, run
from tests.sim import Simulator

# In its own namespaces, so that neither its list of jobs nor its process remains. `cron -f` reads the list each minute.
_INSIDE = """
mount -t tmpfs none /run && mkdir -p /var/spool/cron && mount -t tmpfs none /var/spool/cron || exit 1
mkdir -m 1730 /var/spool/cron/crontabs && install -m 600 {home}/crontab /var/spool/cron/crontabs/root
{cron} -f & cron=$!
tries=300
until [ -e {home}/ended ] || [ "$((tries -= 1))" = 0 ]; do sleep 1; done
kill $cron
[ -e {home}/ended ]
"""


def test_cron_starts_the_scheduled_run_without_output(bulkreset: Command, running: Simulator, tried: Tried) -> None:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("cron in namespaces of its own needs root and unshare")
    cron, home = debian_program("cron", "cron"), bulkreset.home
    running.add_pool(POOL, policy=LAX, auto_users=True)
    write_csv(home / "in.csv", people(20))
    input_ = 'path = "in.csv"\n[schedule]\nstate = "state.json"'
    job = write_job(home, running.url, input_, "[pace]\nrate = 200\n")
    shutil.copy(ROOT / "jobs" / "schedule" / "nightly.sh", home)
    commands = home / "bin"
    commands.mkdir()
    command = commands / "bulkreset"
    command.write_text(f'#!/bin/sh\nenv > {home}/environment\nexec {ROOT}/.venv/bin/bulkreset "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    text = (ROOT / "jobs" / "schedule" / "crontab").read_text(encoding="utf-8")
    for theirs, ours in (
        ("/srv/bulkreset/.venv/bin", str(commands)),
        ("/srv/bulkreset/nightly.toml", str(job)),
        ("/srv/bulkreset", str(home)),
        ("15 1 * * *", "* * * * *"),
        ("> nightly.out", f"> nightly.out 2> nightly.err; echo $? > {home}/code; touch {home}/ended; sleep 300"),
    ):
        assert theirs in text
        text = text.replace(theirs, ours)
    aws = {name: value for name, value in bulkreset.environment.items() if name.startswith("AWS")}
    lines = [f"{name}={value}" for name, value in (aws | {"HOME": str(home), "BULKRESET_TRIES": "1"}).items()]
    (home / "crontab").write_text("\n".join([*lines, text]), encoding="utf-8")
    inside = ("unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child", "sh", "-c")
    run(*inside, _INSIDE.format(home=home, cron=cron))
    environment = dict(line.split("=", 1) for line in (home / "environment").read_text().splitlines())
    assert environment.keys() - aws.keys() <= {
        *("SHELL", "HOME", "LOGNAME", "PATH", "MAILTO", "PWD", "OLDPWD", "SHLVL", "_", "BULKRESET_TRIES", "USER"),
        *("LANG", "LC_ALL"),
    }, "cron gives no more"
    said = (home / "nightly.err").read_text()
    assert (home / "code").read_text() == "0\n", said
    assert running.passwords(POOL) == dict(people(20))
    assert len(running.calls(SET)) == 20
    assert said == "", "cron mails what is here"
    version = run("sh", "-c", "dpkg-query -W -f '${Version}' cron || echo unpacked")
    tried(f"cron {version} of Debian", "starts nightly.sh in its own environment: 20 rows set, nothing to mail")
