"""Debug switches of libraries, Python and the system: none of them shows a password."""

import textwrap
from pathlib import Path

import pytest

from tests.canary import Canary, files
from tests.e2e.command import SET, Argument, Command, CommandResult, finish, write_csv
from tests.sim import Simulator

pytestmark = pytest.mark.fresh

# Debugging that is turned on before our code starts. Each one prints requests, or opens them.
DEBUG = """
    import http.client, logging, sys
    import boto3, botocore.session, urllib3
    from rich.console import Console
    from rich.logging import RichHandler
    from rich.traceback import install

    install(show_locals=True)
    logging.basicConfig(level=1, filename="host.log")
    pretty = RichHandler(console=Console(file=open("rich.log", "w")), rich_tracebacks=True, tracebacks_show_locals=True)
    logging.getLogger().addHandler(pretty)
    for name in ("", "boto3", "botocore", "botocore.endpoint", "botocore.auth", "urllib3.connectionpool"):
        boto3.set_stream_logger(name, 1)
    botocore.session.Session().set_debug_logger()
    urllib3.add_stderr_logger(1)
    http.client.HTTPConnection.debuglevel = 9
    import awscrt.io
    awscrt.io.init_logging(awscrt.io.LogLevel.Trace, "crt.log")
"""
# All of Python's own debug output; it costs several seconds.
PYTHON = {"PYTHONDEVMODE": "1", "PYTHONTRACEMALLOC": "1"}


class Instrumented:
    """The command line with one input that holds a canary. The session token is a canary too."""

    def __init__(self, bulkreset: Command) -> None:
        self.canary, self.token = Canary(), Canary()
        self.bulkreset = bulkreset
        self.home = bulkreset.home
        bulkreset.environment |= {"AWS_SESSION_TOKEN": self.token.core}
        rows = [(f"user.{n}", self.canary.password) for n in range(1, 9)]
        self.source = write_csv(self.home / "in.csv", rows)
        self.write_sitecustomize("")

    def write_sitecustomize(self, text: str) -> None:
        """Make every interpreter run this first."""
        site = self.home / "site"
        site.mkdir(exist_ok=True)
        (site / "sitecustomize.py").write_text(textwrap.dedent(text), encoding="utf-8")

    def run(self, *args: Argument, env: dict[str, str] | None = None, transport: str = "boto3") -> CommandResult:
        """Run the input and check that its passwords appear nowhere else."""
        argv, run_dir = self.bulkreset.with_run_dir([*self.bulkreset.against(self.source), "--yes", "-vv", *args])
        job = Path(str(argv[1]))
        job.write_text(f'{job.read_text()}\n[pace]\ntransport = "{transport}"\n')
        given = {"PYTHONPATH": str(self.home / "site")} | (env or {})
        with self.bulkreset.start(*argv, env=given) as process:
            ran = finish(process, run_dir)
        streams = [("stdout", ran.stdout.encode()), ("stderr", ran.stderr.encode())]
        for one in (self.canary, self.token):
            assert one.among([*files(self.home, self.source), *streams]) == set()
        return ran


@pytest.fixture
def instrumented(bulkreset: Command) -> Instrumented:
    return Instrumented(bulkreset)


@pytest.mark.parametrize(
    ("transport", "python"),
    [
        ("crt", {"PYTHONASYNCIODEBUG": "1"}),
        pytest.param("crt", PYTHON, marks=pytest.mark.soak),
        pytest.param("boto3", PYTHON, marks=pytest.mark.soak),
        pytest.param("boto3", PYTHON | {"PYTHONWARNINGS": "always"}, marks=pytest.mark.soak),
        pytest.param("boto3", PYTHON | {"PYTHONWARNINGS": "error"}, marks=pytest.mark.soak),
    ],
)
def test_debugging_of_libraries_shows_no_request(
    transport: str, python: dict[str, str], instrumented: Instrumented, sim: Simulator, front: str, certificate: Path
) -> None:
    """The debug switches are on before our code starts. TLS keys go into no file."""
    instrumented.write_sitecustomize(DEBUG)
    sim.configure(faults={"echo_password": True, "users": {"user.3": [{"error": "InvalidPasswordException"}]}})
    keys = instrumented.home / "keys.log"
    tls = ("--endpoint-url", front, "--ca-bundle", certificate)
    ran = instrumented.run("--rate", "none", *tls, env=python | {"SSLKEYLOGFILE": str(keys)}, transport=transport)
    assert (ran.code, ran.summary["counts"]) == (1, {"set": 7, "failed": 1})
    assert {call.password for call in sim.calls(SET)} == {instrumented.canary.password}
    assert not keys.exists()
    assert (instrumented.home / "host.log").is_file()
    assert (instrumented.home / "crt.log").is_file()
    assert "Traceback" not in (instrumented.home / "rich.log").read_text(encoding="utf-8")


@pytest.mark.soak
@pytest.mark.parametrize("callback", ["_begun", "_more", "_over"])
def test_failing_callback_of_the_runtime_reports_only_its_place(
    callback: str, instrumented: Instrumented, sim: Simulator
) -> None:
    """C calls the callback and passes its exception to Python's hooks; an answer may repeat the password."""
    text = f"""
        from rich.traceback import install
        install(show_locals=True)
        import bulkreset.cognito.crt_transport as crt
        def fail(self, *args, **named):
            held = b"".join(self.body) + b"".join(one for one in args if isinstance(one, bytes))
            raise ValueError(held, args, named)
        crt._Exchange.{callback} = fail
    """
    instrumented.write_sitecustomize(text)
    sim.configure(faults={"echo_password": True, "every": {"error": "InvalidPasswordException", "operation": SET}})
    ran = instrumented.run("--read-timeout", "1", "--rate", "none", "--max-duration", "3", transport="crt")
    assert ran.code in {1, 3, 5}
    assert "sitecustomize.py" in ran.stderr or callback == "_over"


@pytest.mark.soak
def test_embedded_service_shows_no_request_either(instrumented: Instrumented) -> None:
    """The service is in the same process and gets the passwords. It may name what is wrong with one of them."""
    instrumented.write_sitecustomize(DEBUG)
    with instrumented.source.open("a", encoding="utf-8") as file:
        file.write(f'short,"{instrumented.canary.core[:12]}"\n')
    ran = instrumented.run("--emulate", "--rate", "100")
    assert ran.code in {0, 1}
    assert ran.summary["counts"]["set"] >= 8
