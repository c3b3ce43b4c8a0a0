"""Hostile text: terminal sequences, changed text direction, formulas. All output shows it as text."""

import csv
import json
import os
import pty
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.command import LAX, POOL, Argument, Command, write_csv, write_job
from tests.e2e.test_confirmation import at_a_terminal
from tests.sim import Simulator

ORDER = "\x1b]0;owned\x07\x9b31m"  # sets the window title, and a colour by a single C1 character
SHOWN = "\u241b]0;owned\u2407[U+009B]31m"
TURNED = "abc\u202egnp.exe"
_STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_OURS = re.compile("\x1b\\[[0-9;]*[mKAG]|\x1b\\[\\?25[lh]|\r")  # colours and cursor movement


def at_terminal(bulkreset: Command, args: Sequence[Argument]) -> tuple[int, str]:
    """Return what a terminal shows, without bulkreset's own colours and cursor movement."""
    ours, theirs = pty.openpty()
    process = bulkreset.start(*args, terminal=theirs)
    os.close(theirs)
    shown = b""
    try:
        while found := os.read(ours, 65536):
            shown += found
    except OSError:  # a terminal raises this after its last program has ended
        pass
    os.close(ours)
    return process.wait(60), _OURS.sub("", shown.decode())


def test_text_does_not_control_a_terminal_or_a_spreadsheet(tmp_path: Path, bulkreset: Command, sim: Simulator) -> None:
    name = f"Kunden {ORDER} {TURNED} :warning: [red]"
    sim.add_pool(POOL, policy=LAX, auto_users=True, name=name)
    answer = {"error": f"Odd{ORDER}Exception", "message": f"=cmd {ORDER} {TURNED}", "status": 400}
    sim.configure(faults={"users": {"ann": [answer] * 20}})
    source = f"in{ORDER}.csv"
    rows = [
        ("ann", "Quiet-Garden.1"),
        (ORDER, "Quiet-Garden.2"),
        ("=1+1", "Quiet-Garden.3"),
        (TURNED, "Quiet-Garden.4"),
    ]
    write_csv(tmp_path / source, [*rows, ("tab\tbed", "Quiet-Garden.5"), ("b\rob", "Quiet-Garden.6")])
    job = write_job(tmp_path, sim.url, f"path = {json.dumps(source)}")
    argv, run_dir = bulkreset.with_run_dir(["run", job, "-vv"])
    with at_a_terminal(bulkreset, argv) as person:
        person.read_until("[y/N]")
        person.type("y\n")
        ran = person.end()
    assert ran.code == 1
    shown = _OURS.sub("", ran.stdout)
    assert not _STEERS.search(shown)
    assert f"Kunden ?]0;owned??31m abc?gnp.exe :warning: [red] ({POOL})" in " ".join(shown.split())  # lines are wrapped
    assert f"Odd{SHOWN}Exception" in shown
    report = (run_dir / "report.csv").read_bytes().decode()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", report)
    cells = [row["username"] for row in csv.DictReader(report.splitlines())]
    assert cells == ["ann", SHOWN, "'=1+1", TURNED, "tab\tbed", "b\u240dob"]
    assert report.splitlines()[1].split(",")[5].startswith("'=cmd")
    assert not _STEERS.search((run_dir / "summary.json").read_text(encoding="utf-8"))
    assert not _STEERS.search((run_dir / "log.jsonl").read_text(encoding="utf-8"))

    code, told = at_terminal(bulkreset, ["report", run_dir, "-o", "-"])
    assert (code, bool(_STEERS.search(told)), "abc[U+202E]gnp.exe" in told) == (0, False, True)
    moved = tmp_path / f"run{ORDER}"
    shutil.move(run_dir, moved)
    with bulkreset.start("report", moved, "--format", "jsonl", "-o", "-") as process:
        lines, _ = process.communicate()
    assert not _STEERS.search(lines)
    assert [json.loads(line)["username"] for line in lines.splitlines()][1:] == [
        *(name for name, _ in rows[1:]),
        "tab\tbed",
        "b\rob",
    ]
    commands: list[list[Argument]] = [
        ["status", moved],
        ["report", moved, "-o", tmp_path / f"a{ORDER}.csv"],
        ["status", f"no{ORDER}"],
    ]
    for args in commands:
        _, told = at_terminal(bulkreset, args)
        assert not _STEERS.search(told)
        assert SHOWN in told
