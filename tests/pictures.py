"""The pictures in the README: a real run against the simulator with all kinds of results, and its page in a browser."""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bulkreset.journal.journal import Journal
from bulkreset.report.page import write_page
from tests.e2e.command import LAX, Command, CommandResult
from tests.report.browser import CHROMIUM, SIZES, THEMES, chromium, opened
from tests.sim import Simulator

ROWS: Final = 50_000
LARGEST: Final = 200_000  # bytes of a picture
PICTURES: Final = Path(__file__).resolve().parents[1] / "samples" / "pictures"
POOLS: Final = ("eu-west-1_Customers1", "us-east-1_Customers2")
HEIGHTS: Final = {1280: 1240, 390: 1700}


def main() -> int:
    """Make a run, open its page, and take the pictures."""
    if CHROMIUM is None:
        sys.stderr.write("There is no Chromium here: apt-get install chromium\n")
        return 1
    with TemporaryDirectory(prefix="campaign-") as folder, Simulator() as sim:
        ran = run(Path(folder), sim)
        sys.stdout.write(ran.stdout)
        PICTURES.mkdir(exist_ok=True)
        return take(elsewhere(ran.run_dir))


def run(home: Path, sim: Simulator) -> CommandResult:
    """Run 50,000 rows in two lanes: some are refused, throttled, lost or rejected."""
    for pool in POOLS:
        sim.add_pool(pool, policy=LAX, auto_users=True)
    lost = {f"user{number:05d}": [{"cut": "after"}] * 3 for number in range(4_000, ROWS, 4_500)}
    missing = {f"user{number:05d}": [{"error": "UserNotFoundException"}] for number in range(77, ROWS, 613)}
    sim.configure(
        latency=0.012,
        jitter=0.8,
        quota={"rate": 330, "operation": "AdminSetUserPassword"},
        keep_calls=False,
        faults={"users": lost | missing},
    )
    job = write(home, sim.url, ROWS, 400)
    return Command(home, sim)("run", job, "--yes", "--no-progress", "--run-dir", home / "autumn", patience=600)


def write(home: Path, url: str, rows: int, rate: int) -> Path:
    """Write the job and its input."""
    with (home / "users.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("username", "password", "user_pool_id"), *map(_row, range(1, rows + 1))])
    targets = "".join(
        f'[[targets]]\nuser_pool_id = "{pool}"\nregion = "{pool.partition("_")[0]}"\nendpoint_url = "{url}"\n'
        for pool in POOLS
    )
    rest = f"[plan]\ncheck_users = false\n[pace]\nrate = {rate}\nmax_attempts = 3\n[guards]\nmax_failures = '5%'\n"
    path = home / "autumn-reset.toml"
    path.write_text(f'permanent = true\n[input]\npath = "users.csv"\n{targets}{rest}', encoding="utf-8")
    return path


def _row(number: int) -> Sequence[str]:
    password = "" if number % 1_301 == 0 else f"Quiet-Garden.{number:05d}"
    return (f"user{number:05d}", password, POOLS[number % 2])


def elsewhere(run_dir: Path) -> Path:
    """Copy the page with neutral host and user names, and return its path."""
    journal = Journal.open(run_dir / "journal.sqlite")
    facts = journal.state
    journal.write.change(
        input=facts.input.model_copy(update={"path": "/srv/campaign/users.csv"}),
        executions=[it.model_copy(update={"user": "ops", "host": "batch-1"}) for it in facts.executions],
    )
    write_page(journal, run_dir / "report.html", Path("/srv/campaign/runs/autumn-reset"))
    journal.close()
    return run_dir / "report.html"


def take(page: Path) -> int:
    """Take a picture for each kind of screen and theme; return how many are too large."""
    with chromium() as browser:
        for width in SIZES:
            for theme in THEMES:
                with opened(browser, page, width, theme) as shown:
                    shown.set_viewport_size({"width": width, "height": HEIGHTS[width]})
                    shown.screenshot(path=PICTURES / f"report-{width}-{theme}.png")
                    shown.locator("section:has(#pace)").screenshot(path=PICTURES / f"pace-{width}-{theme}.png")
    return sum(_is_large(path) for path in sorted(PICTURES.glob("*.png")))


def _is_large(path: Path) -> bool:
    size = path.stat().st_size
    sys.stdout.write(f"{path.name}: {size:,} bytes\n")
    return size > LARGEST


if __name__ == "__main__":
    raise SystemExit(main())
