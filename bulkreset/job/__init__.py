"""What is to be done: the job file, and the tables that it has, validated and frozen."""

from bulkreset.job.environment import Fleet, Mirror, is_loopback
from bulkreset.job.guards import Guards
from bulkreset.job.input import S3, TAG, Columns, Input, Select, Where
from bulkreset.job.job import Job
from bulkreset.job.output import Notify
from bulkreset.job.pace import FASTEST, Pace
from bulkreset.job.password import Password, Policy
from bulkreset.job.target import Target

__all__ = [
    "FASTEST",
    "S3",
    "TAG",
    "Columns",
    "Fleet",
    "Guards",
    "Input",
    "Job",
    "Mirror",
    "Notify",
    "Pace",
    "Password",
    "Policy",
    "Select",
    "Target",
    "Where",
    "is_loopback",
]
