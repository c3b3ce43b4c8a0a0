"""Settings for the output of a run: its report, notifications and metrics."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from bulkreset.job.base import ConfigTable, Duration, matches, require_extra
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


class NotifyConfig(ConfigTable):
    """Which outcomes of a run to report, and to which Apprise URLs or SNS topic.

    A URL may contain a secret, so it is never shown or stored. `urls_from` names a source with one URL per line:
    "env:NAME" or "file:PATH".
    """

    on: tuple[Literal["finish", "failure", "guard"], ...] = Field(default=("finish", "failure", "guard"), strict=False)
    urls: tuple[SecretStr, ...] = Field(default=(), strict=False)
    urls_from: str | None = None
    sns_topic_arn: (
        Annotated[
            str,
            matches(r"arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+", "the ARN of an SNS topic that is not FIFO"),
        ]
        | None
    ) = None

    @field_validator("urls_from")
    @classmethod
    def _names_a_place(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"env:[A-Za-z_]\w*|file:.+", value):
            raise ValueError('must be "env:NAME" or "file:PATH"')
        return value

    @model_validator(mode="after")
    def _installed(self) -> Self:
        if self.urls or self.urls_from:
            require_extra("apprise", "notify")
        return self


class MetricsConfig(ConfigTable):
    """The destinations of a run's metrics: a file for the node exporter, CloudWatch EMF to a file or to "stdout".

    `otlp` is the base URL of an OpenTelemetry collector, which gets traces, too.
    """

    textfile: Path | None = Field(default=None, strict=False)
    emf: str | None = Field(default=None, min_length=1)
    otlp: (
        Annotated[str, matches(r"https?://[^\s/?#@]+(/[^\s?#]*)?", "a URL without a user, as http://localhost:4318")]
        | None
    ) = None

    @field_validator("otlp")
    @classmethod
    def _otel_is_installed(cls, value: str | None) -> str | None:
        if value:
            require_extra("opentelemetry", "otel")
        return value

    @field_validator("textfile")
    @classmethod
    def _read_by_the_exporter(cls, value: Path | None) -> Path | None:
        if value and value.suffix != ".prom":
            raise ValueError("must end with .prom: the node exporter reads no other file")
        if value:
            require_extra("prometheus_client", "metrics")
        return value
