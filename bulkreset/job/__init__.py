"""The job file and its tables, validated and frozen."""

from bulkreset.job.environment import ClusterConfig, MirrorConfig, is_loopback
from bulkreset.job.guards import GuardsConfig
from bulkreset.job.input import (
    COMPRESSED,
    ENCRYPTED,
    S3,
    SUFFIXES,
    ColumnsConfig,
    InputConfig,
    Location,
    SelectConfig,
)
from bulkreset.job.job import Job
from bulkreset.job.output import NotifyConfig
from bulkreset.job.pace import FASTEST, PaceConfig
from bulkreset.job.password import PasswordConfig, PasswordPolicy
from bulkreset.job.schedule import TAG, ScheduleConfig
from bulkreset.job.target import Target

__all__ = [
    "COMPRESSED",
    "ENCRYPTED",
    "FASTEST",
    "S3",
    "SUFFIXES",
    "TAG",
    "ClusterConfig",
    "ColumnsConfig",
    "GuardsConfig",
    "InputConfig",
    "Job",
    "Location",
    "MirrorConfig",
    "NotifyConfig",
    "PaceConfig",
    "PasswordConfig",
    "PasswordPolicy",
    "ScheduleConfig",
    "SelectConfig",
    "Target",
    "is_loopback",
]
