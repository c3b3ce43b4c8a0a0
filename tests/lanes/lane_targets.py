"""Pools in several accounts and Regions, reached by access key, profile or role; jobs and inputs for them."""

import csv
import gzip
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from tests.e2e.command import LAX, WITHOUT_PAGE, Command
from tests.sim import Simulator

HEADER: Final = ("username", "password", "user_pool_id")
Line = tuple[str, str, str]


@dataclass(frozen=True)
class Place:
    """One lane with one pool, reached by its account's profile or by a role."""

    account: str
    region: str
    role: bool = False

    @property
    def pool(self) -> str:
        return f"{self.region}_Pool{self.account[:5]}"

    @property
    def profile(self) -> str:
        return f"p{self.account[:5]}"

    @property
    def arn(self) -> str:
        return f"arn:aws:iam::{self.account}:role/resetter"

    def target(self, url: str, read_timeout: float = 2.0) -> str:
        """Return the [[targets]] table."""
        how = f'role_arn = "{self.arn}"\nexternal_id = "ext-1"' if self.role else f'profile = "{self.profile}"'
        where = f'user_pool_id = "{self.pool}"\nregion = "{self.region}"\nendpoint_url = "{url}"'
        return f"[[targets]]\n{where}\n{how}\nread_timeout = {read_timeout}\n"


A: Final = Place("111111111111", "us-east-1")
B: Final = Place("222222222222", "us-east-1")
C: Final = Place("111111111111", "eu-west-1")
R: Final = Place("333333333333", "eu-west-1", role=True)
ALL: Final = (A, B, C, R)


def create_pools(bulkreset: Command, sim: Simulator, places: Sequence[Place] = ALL) -> dict[str, str | None]:
    """Create the pools; return the environment with the profiles to reach them."""
    config = []
    for place in places:
        sim.add_pool(place.pool, policy=LAX, auto_users=True, account=place.account)
        if not place.role:
            sim.configure(accounts={f"AKID{place.account[:5]}": place.account})
            keys = f"aws_access_key_id = AKID{place.account[:5]}\naws_secret_access_key = simulated\n"
            config.append(f"[profile {place.profile}]\n{keys}")
    path = bulkreset.home / "aws-config"
    path.write_text("".join(dict.fromkeys(config)))
    return {"AWS_CONFIG_FILE": str(path)}


def users(place: Place, count: int) -> list[Line]:
    """Return rows of a pool."""
    return [(f"u{number:05d}.{place.pool[-5:]}", f"Quiet-Garden.{number:05d}", place.pool) for number in range(count)]


def mixed(lines: Sequence[Line], how: str) -> list[Line]:
    """Return the rows in order (sorted by pool) or shuffled."""
    shuffled = list(lines)
    if how == "interleaved":
        random.Random(5).shuffle(shuffled)
    return shuffled


def write_input(folder: Path, lines: Sequence[Line], name: str = "users.csv") -> Path:
    """Write the rows as CSV, gzipped CSV or Parquet, depending on the name."""
    path = folder / name
    if name.endswith("parquet"):
        columns = {key: [line[place] for line in lines] for place, key in enumerate(HEADER)}
        pq.write_table(pa.table(columns), path, row_group_size=3000)
        return path
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([HEADER, *lines])
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(path.read_bytes()))
    return path


def write_job(
    bulkreset: Command,
    sim: Simulator,
    places: Sequence[Place],
    input_: Path,
    more: str = "",
    read_timeout: float = 2.0,
) -> Path:
    """Write a job for these lanes; its time-outs are long enough for held calls."""
    targets = "".join(place.target(sim.url, read_timeout) for place in places)
    path = bulkreset.home / "job.toml"
    path.write_text(
        f'name = "lanes"\npermanent = true\n[input]\npath = "{input_}"\n{targets}[plan]\ncheck_users = false\n{more}\n{WITHOUT_PAGE}'
    )
    return path
