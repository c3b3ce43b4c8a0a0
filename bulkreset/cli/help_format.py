"""The plain-text layout of a command's --help: options in groups, examples at the end."""

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Annotated, Any, Protocol

import typer
from typer.core import TyperCommand

from bulkreset.text import join_words

GROUPS = {
    "Input and target": (
        *("input_", "spool", "kind", "name", "user_pool_id", "region", "profile", "endpoint_url", "ca_bundle"),
        *("no_verify_ssl", "connect_timeout", "read_timeout", "recipient"),
    ),
    "Actions": (
        *("permanent", "sign_out", "check_users", "dry_run", "approved", "emulate", "yes", "again", "failed"),
        *("within", "reissue", "identity", "only", "redact"),
    ),
    "Pace": ("rate", "share", "workers", "cluster", "pause", "continue_", "stop", "lane"),
    "Guards": ("max_rows", "max_failures", "max_duration", "limit"),
    "Output": ("run_dir", "form", "output", "bom", "as_json", "json", "log_format", "quiet", "no_progress", "verbose"),
}
_VARIABLES = """Each option except --input can also be set by an environment variable,
for example BULKRESET_RATE=10. An option overrides its variable.
"""
FEW = 6  # up to this number of options, no groups are shown

# What follows the name of each command.
EXAMPLES = {
    "run": (
        "reset.toml --dry-run",
        "reset.toml",
        "reset.toml --approved runs/reset-20261121T083034Z",
        "--input users.csv --user-pool-id eu-west-1_Example01 --permanent",
    ),
    "resume": ("runs/reset-20261121T083034Z", "runs/reset-20261121T083034Z --failed --share 0.3"),
    "abandon": ("runs/reset-20261121T083034Z",),
    "status": ("", "runs/reset-20261121T083034Z --json"),
    "control": (
        "RUN_DIR",
        "RUN_DIR --pause",
        "RUN_DIR --continue --rate 10",
        "RUN_DIR --lane 123456789012/eu-west-1 --share 0.3",
    ),
    "watch": ("RUN_DIR",),
    "report": (
        "RUN_DIR --only failed,rejected -o faults.csv",
        "RUN_DIR --format parquet --redact usernames -o shared.parquet",
        "RUN_DIR --format jsonl -o - | head",
    ),
    "extract": ("RUN_DIR -o again.csv", "RUN_DIR --only failed -o again.csv.age --recipient age1..."),
    "passwords": ("RUN_DIR --identity key.txt -o passwords.csv", "RUN_DIR --identity key.txt --format jsonl | head"),
    "contacts": ("RUN_DIR -o contacts.csv.age",),
    "verify": ("RUN_DIR", "RUN_DIR --within 2 --reissue again.csv"),
    "undo": ("RUN_DIR --preview", "RUN_DIR", "RUN_DIR --cancel"),
    "init": ("", "--kind scramble --input users.csv \\\n      --user-pool-id eu-west-1_Example01 -o scramble.toml"),
    "demo": ("",),
    "help": ("run", "--man > bulkreset.1"),
}


class _Formatter(Protocol):
    """The methods used of Typer's help formatter. Its class is in a private module, so it cannot be imported here."""

    def section(self, name: str) -> AbstractContextManager[None]: ...
    def write_dl(self, rows: Sequence[tuple[str, str]]) -> None: ...
    def write(self, string: str) -> None: ...


# Pydantic's messages about a value, which Typer passes on, and the text that we put after the flag's name.
_VALUES = (
    (r"unable to parse string as an integer|valid integer", "must be a whole number"),
    (r"unable to parse string as a number|valid number", "must be a number"),
    (r"valid boolean", "must be true or false"),
    (r"greater than or equal to (\S+)|not in the range x>=(\S+?)\.?$", "must be at least {}"),
)


def explain_value(flag: str, message: str) -> str:
    """Return what is wrong with a flag's value, from Typer's message about the value alone."""
    if choices := re.search(r"'(.*)' is not one of ('.*')", message):
        words = re.findall(r"'([^']*)'", choices[2])
        close = difflib.get_close_matches(choices[1], words, n=1)
        return f"{flag} must be {join_words(words, 'or')}{f'; did you mean {close[0]}?' if close else '.'}"
    for pattern, means in _VALUES:
        if found := re.search(pattern, message):
            return f"{flag} {means.format(*filter(None, found.groups()))}."
    return f"{flag}: {message}"


UsageError: Any = typer.BadParameter.__base__  # its module is private, too


class CommandHelp(TyperCommand):
    """A command whose help has groups and examples, and whose usage errors name the flag and what it takes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  (Typer's own signature)
        super().__init__(*args, **kwargs)
        options: list[Any] = [param for param in self.params if param.param_type_name == "option"]
        for option in options:
            option.show_envvar = False  # a variable beside each option would double the help's length
            # A variable with several paths would be split at white space, which paths may contain.
            option.allow_from_autoenv = not option.multiple

    def make_context(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  (Typer's own signature)
        """Parse the command line. Raises Typer's usage error in our words."""
        try:
            return super().make_context(*args, **kwargs)
        except typer.BadParameter as error:
            option: Any = error.param
            if option is None or option.param_type_name != "option" or not error.message:
                raise
            flag = next((opt for opt in option.opts if opt.startswith("--")), option.opts[0])
            # The base class puts nothing before the message.
            raise UsageError(explain_value(flag, error.message), error.ctx) from None

    def format_options(self, ctx: typer.Context, formatter: _Formatter) -> None:  # type: ignore[override]
        """Write the arguments, then the options, in groups if there are more than FEW."""
        records = [(param, record) for param in self.get_params(ctx) if (record := param.get_help_record(ctx))]
        few = sum(param.param_type_name == "option" for param, _ in records) <= FEW
        grouped: dict[str, list[tuple[str, str]]] = {group: [] for group in ("Arguments", *GROUPS, "Options")}
        for param, record in records:
            own = "Options" if few else getattr(param, "rich_help_panel", None) or _group_of(str(param.name))
            grouped.setdefault("Arguments" if param.param_type_name == "argument" else own, []).append(record)
        for group, shown in grouped.items():
            if shown:
                with formatter.section(group):
                    formatter.write_dl(shown)

    def format_epilog(self, _ctx: object, formatter: _Formatter) -> None:
        """Write the examples unchanged."""
        lines = (f"bulkreset {self.name} {arguments}".rstrip() for arguments in EXAMPLES[str(self.name)])
        formatter.write("".join(["\nExamples:\n", *(f"  {line}\n" for line in lines)]))
        if "auto_envvar_prefix" in self.context_settings:
            formatter.write(f"\n{_VARIABLES}")


def show_help(
    ctx: typer.Context,
    command: Annotated[str | None, typer.Argument(metavar="COMMAND", help="A command.")] = None,
    man: Annotated[bool, typer.Option("--man", help="Print the man page of all commands.")] = False,
) -> None:
    """Show the help of a command."""
    group: Any = ctx.find_root().command
    if man:
        typer.echo("\n".join(_man_page(ctx.find_root())))
        return
    if command is None:
        typer.echo(ctx.find_root().get_help())
        return
    name, found, _ = group.resolve_command(ctx.find_root(), [command])
    found.make_context(name, ["--help"], parent=ctx.find_root())  # writes the help and exits


def _man_page(root: Any) -> Iterator[str]:  # noqa: ANN401  (Typer's context is in a private module)
    """Yield the lines of the man page: the help of each command, unchanged."""
    group = root.command
    yield from ('.TH BULKRESET 1 "" bulkreset', ".SH NAME", f"bulkreset \\- {_roff(group.help)}")
    for name in group.list_commands(root):
        found = group.commands[name].make_context(name, [], parent=root, resilient_parsing=True, terminal_width=78)
        yield from (f'.SH "BULKRESET {name.upper()}"', ".nf", _roff(found.get_help()), ".fi")


def _roff(text: str) -> str:
    """Return text for roff, which reads a backslash, a hyphen and a leading dot or quote as its own."""
    return re.sub(r"^(?=[.'])", r"\\&", text.replace("\\", "\\e").replace("-", "\\-"), flags=re.MULTILINE)


def _group_of(name: str) -> str:
    return next((group for group, names in GROUPS.items() if name in names), "Options")
