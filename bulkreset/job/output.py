"""Settings for the output of a run: its report, notifications and metrics."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from bulkreset.job.base import ConfigTable, Duration, matches, needs_extra, require_extra
from bulkreset.models import REPORT_COLUMNS, ReportFormat


class ReportConfig(ConfigTable):
    """The report that a run writes: its format, whether hashes replace usernames, and whether to write an HTML page.

    `live`: how often the page is written during the run; unset: only at its end. `columns` are additional columns of
    the input in the report.
    """

    format: ReportFormat = "csv"
    redact: Literal["usernames"] | None = None
    html: bool = True
    live: Annotated[Duration, Field(ge=5)] | None = None

    @model_validator(mode="after")
    def _live_needs_page(self) -> Self:
        if self.live and not self.html:
            raise ValueError("live needs html")
        return self

    columns: tuple[str, ...] = Field(default=(), strict=False)

    @field_validator("columns")
    @classmethod
    def _other_columns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value) or not all(name and name == name.strip() for name in value):
            raise ValueError("must be different names of columns")
        if own := [name for name in value if name in REPORT_COLUMNS]:
            raise ValueError(f"names {own[0]}, which is a column of the report itself")
        return value


_TopicArn = Annotated[
    str, matches(r"arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+", "the ARN of an SNS topic that is not FIFO")
]


class NotifyConfig(ConfigTable):
    """Which outcomes of a run to report, and to which Apprise URLs or SNS topic.

    A URL may contain a secret, so it is never shown or stored. `urls_from` names a source with one URL per line:
    "env:NAME" or "file:PATH".
    """

    on: tuple[Literal["finish", "failure", "guard"], ...] = Field(default=("finish", "failure", "guard"), strict=False)
    urls: tuple[SecretStr, ...] = Field(default=(), strict=False)
    urls_from: Annotated[str, matches(r"env:[A-Za-z_]\w*|file:.+", '"env:NAME" or "file:PATH"')] | None = None
    sns_topic_arn: _TopicArn | None = None

    @model_validator(mode="after")
    def _installed(self) -> Self:
        if self.urls or self.urls_from:
            require_extra("apprise", "notify")
        return self


def _read_by_the_exporter(path: Path) -> Path:
    if path.suffix != ".prom":
        raise ValueError("must end with .prom: the node exporter reads no other file")
    return path


_Textfile = Annotated[
    Path, Field(strict=False), AfterValidator(_read_by_the_exporter), needs_extra("prometheus_client", "metrics")
]
_CollectorUrl = Annotated[
    str,
    matches(r"https?://[^\s/?#@]+(/[^\s?#]*)?", "a URL without a user, as http://localhost:4318"),
    needs_extra("opentelemetry", "otel"),
]


class MetricsConfig(ConfigTable):
    """The destinations of a run's metrics: a file for the node exporter, CloudWatch EMF to a file or to "stdout".

    `otlp` is the base URL of an OpenTelemetry collector, which gets traces, too.
    """

    textfile: _Textfile | None = None
    emf: str | None = Field(default=None, min_length=1)
    otlp: _CollectorUrl | None = None
