"""The terminal pictures in the README: the command, typed into a shell of 80 by 24 against the simulator."""

import io
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Self

from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

from tests.e2e.command import LAX, Command
from tests.pictures import LARGEST, PICTURES, POOLS, write
from tests.sim import Simulator

ROWS: Final = 1_320
COLUMNS: Final = 80
LINES: Final = 24
JOB: Final = "autumn-reset"
PATIENCE: Final = 120.0  # seconds
TMUX: Final = shutil.which("tmux")
# Rich's own frame asks a network for its font; this one uses an installed font.
FRAME: Final = """<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font: {char_height}px/{line_height}px "DejaVu Sans Mono", Menlo, Consolas, monospace; }}
.{unique_id}-title {{ font: bold 18px sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


class Terminal:
    """A shell in an invisible terminal: tmux draws it, types into it, and returns its screen."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self._socket = home / "terminal"
        config = home / "tmux.conf"
        config.write_text("set -g status off\nset -g default-terminal tmux-256color\n", encoding="utf-8")
        given = [f"{name}={value}" for name, value in environment.items()]
        shell = ["env", "-i", *given, "PS1=$ ", "TERM=tmux-256color", "LANG=C.UTF-8", "bash", "--norc", "--noprofile"]
        size = ("-x", str(COLUMNS), "-y", str(LINES))
        self._tmux("-f", str(config), "new-session", "-d", *size, "-c", str(home), shlex.join(shell))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tmux("kill-server")

    def type(self, line: str) -> None:
        self._tmux("send-keys", "-l", line)
        self._tmux("send-keys", "Enter")

    def screen(self) -> str:
        """Return the screen with its colours."""
        return self._tmux("capture-pane", "-p", "-e")

    def when(self, is_there: Callable[[str], bool]) -> str:
        """Return the first screen that shows this text."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            shown = self.screen()
            if is_there(Text.from_ansi(shown).plain):
                return shown
            time.sleep(0.2)
        message = f"it never came to that:\n{Text.from_ansi(self.screen()).plain}"
        raise TimeoutError(message)

    def _tmux(self, *args: str) -> str:
        said = subprocess.run([TMUX or "tmux", "-S", str(self._socket), *args], capture_output=True, check=True)
        return said.stdout.decode()


def main() -> int:
    """Run, and take two pictures: midway through sending, and at the end."""
    if TMUX is None:
        sys.stderr.write("There is no tmux here: apt-get install tmux\n")
        return 1
    PICTURES.mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="campaign-") as folder, Simulator() as sim:
        home = Path(folder)
        prepare(sim)
        write(home, sim.url, ROWS, 28)
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        with Terminal(home, Command(home, sim).environment | {"PATH": path}) as terminal:
            sending, ended = scenes(terminal)
    return draw("terminal-sending", sending) + draw("terminal-end", ended)


def prepare(sim: Simulator) -> None:
    """Create two pools with a quota below the job's rate; some users are missing, some answers get lost."""
    for pool in POOLS:
        sim.add_pool(pool, policy=LAX | {"MinimumLength": 12}, auto_users=True)
    lost = {f"user{number:05d}": [{"cut": "after"}] * 3 for number in range(400, ROWS, 500)}
    missing = {f"user{number:05d}": [{"error": "UserNotFoundException"}] for number in range(77, ROWS, 113)}
    sim.configure(
        latency=0.012,
        jitter=0.8,
        quota={"rate": 25, "operation": "AdminSetUserPassword"},
        keep_calls=False,
        faults={"users": lost | missing},
    )


def scenes(terminal: Terminal) -> tuple[str, str]:
    """Return the screen midway through sending, and the one after the command."""
    terminal.type(f"bulkreset run {JOB}.toml --run-dir runs/{JOB}")
    terminal.when(lambda shown: f'("{JOB}")' in shown)
    terminal.type(JOB)
    sending = terminal.when(lambda shown: any(f"{share}%" in shown for share in range(50, 80)) and "in doubt" in shown)
    terminal.when(lambda shown: shown.rstrip().endswith("$"))
    terminal.type("echo $?")
    return sending, terminal.when(lambda shown: "$ echo $?\n1\n" in shown)


def draw(name: str, shown: str) -> int:
    """Write the picture; return 1 if it is too large."""
    console = Console(width=COLUMNS, file=io.StringIO(), record=True, force_terminal=True, color_system="truecolor")
    lines = Text.from_ansi(shown.rstrip("\n")).split("\n", allow_blank=True)
    for line in [*lines, *[Text()] * (LINES - len(lines))]:
        console.print(line, no_wrap=True, overflow="crop")
    svg = console.export_svg(title="bulkreset", theme=SVG_EXPORT_THEME, code_format=FRAME, unique_id=name)
    path = PICTURES / f"{name}.svg"
    path.write_text(svg, encoding="utf-8")
    sys.stdout.write(f"{path.name}: {path.stat().st_size:,} bytes\n")
    return path.stat().st_size > LARGEST


if __name__ == "__main__":
    raise SystemExit(main())
