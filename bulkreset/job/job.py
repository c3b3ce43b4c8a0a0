"""The whole job as one validated and frozen model."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bulkreset.job.base import ConfigTable, matches
from bulkreset.job.environment import ClusterConfig, EmulatorConfig, MirrorConfig
from bulkreset.job.guards import GuardsConfig
from bulkreset.job.input import ColumnsConfig, InputConfig
from bulkreset.job.output import MetricsConfig, NotifyConfig, ReportConfig
from bulkreset.job.pace import PaceConfig
from bulkreset.job.password import PasswordConfig
from bulkreset.job.schedule import ScheduleConfig
from bulkreset.job.target import Target
from bulkreset.job.waves import WavesConfig, share_of
from bulkreset.steps import STEPS, Step


class PlanConfig(ConfigTable):
    """The plan's checks in the pools. `skip` lists the kinds of users that are skipped.

    `count_passkeys` makes one more call for each user; whether that bills the user is not documented.
    """

    check_users: bool = True
    count_passkeys: bool = False
    skip: tuple[Literal["federated", "disabled", "passwordless", "unconfirmed", "unrecoverable"], ...] = Field(
        default=("federated", "disabled", "passwordless"), strict=False
    )


class AfterConfig(ConfigTable):
    """The steps for a user after the password was set. In a job file they may also be a list of names.

    If `sign_out` is not set, users are signed out only if nobody keeps the password.
    """

    sign_out: bool | None = None
    revoke_sessions: bool = False
    forget_devices: bool = False
    delete_totp: bool = False


class CampaignConfig(ConfigTable):
    """What a campaign may do to its users.

    `accept_lockout`: it may lock out users who cannot recover by themselves.
    """

    accept_lockout: bool = False


class Job(ConfigTable):
    """A whole job. If `permanent` is not set, the API's default applies: temporary passwords."""

    name: Annotated[
        str,
        matches(
            r"[A-Za-z0-9][\w.-]{0,63}", 'up to 64 letters, digits, "_", "." or "-", and begin with a letter or digit'
        ),
    ]
    permanent: bool = False
    input: InputConfig
    schedule: ScheduleConfig = ScheduleConfig()
    targets: tuple[Target, ...] = Field(min_length=1, strict=False)
    password: PasswordConfig = PasswordConfig()
    plan: PlanConfig = PlanConfig()
    pace: PaceConfig = PaceConfig()
    guards: GuardsConfig = GuardsConfig()
    waves: WavesConfig = WavesConfig()
    after: AfterConfig = AfterConfig()
    campaign: CampaignConfig = CampaignConfig()
    notify: NotifyConfig = NotifyConfig()
    metrics: MetricsConfig = MetricsConfig()
    report: ReportConfig = ReportConfig()
    mirror: MirrorConfig = MirrorConfig()
    cluster: ClusterConfig = ClusterConfig()
    emulator: EmulatorConfig = EmulatorConfig()

    @model_validator(mode="after")
    def _targets_fit(self) -> Self:
        pools = [target.user_pool_id for target in self.targets]
        if len(set(pools)) < len(pools):
            raise ValueError("targets: two of them name the same user pool")
        if any(target.external_id and not target.role_arn for target in self.targets):
            raise ValueError("targets: an external_id needs a role_arn")
        return self

    @model_validator(mode="after")
    def _schedule_fits(self) -> Self:
        state, done = self.schedule.state, self.schedule.done
        if state and self.input.from_pool:
            raise ValueError("schedule.state cannot be used with input.from_pool: only files can be finished")
        if done and any(isinstance(one, str) != isinstance(done, str) for one in self.input.places):
            raise ValueError(
                'schedule.done must be a folder if the inputs are files, and "s3://…/" or "tag" if they are in S3'
            )
        return self

    @model_validator(mode="after")
    def _report_has_no_password(self) -> Self:
        if self.report.columns and self.input.from_pool:
            raise ValueError("report.columns cannot be used with input.from_pool: there is no input that has columns")
        if self.input.columns.password in self.report.columns:
            raise ValueError("report.columns names the column of the passwords, which no report has")
        return self

    @model_validator(mode="after")
    def _generated_passwords_arrive(self) -> Self:
        if not self.generates and self.input.from_pool:
            raise ValueError('input.from_pool needs password.source = "generate": a pool does not return passwords')
        if not self.generates and self.password.recipients:
            raise ValueError('password.recipients needs password.source = "generate"')
        if self.generates and self.input.columns.password != ColumnsConfig().password:
            raise ValueError('input.columns.password needs password.source = "input"')
        if self.generates and not self.permanent and not self.password.recipients:
            raise ValueError("password.recipients is missing: a generated temporary password must reach its user")
        return self

    @model_validator(mode="after")
    def _waves_can_be_judged(self) -> Self:
        waves = self.waves
        if not waves.rows and (waves.after or waves.max_expired or share_of(waves.recovered)):
            raise ValueError("waves.rows is missing: it says how many rows a wave has")
        if waves.rows and share_of(waves.recovered) and self.permanent and not self.scrambles:
            raise ValueError(
                "waves.recovered cannot be determined: users who know their permanent password need not change it. Use waves.after"
            )
        return self

    @property
    def generates(self) -> bool:
        """Return whether this program generates the passwords."""
        return self.password.source == "generate"

    @property
    def scrambles(self) -> bool:
        """Return whether nobody will know the passwords, so that users can recover only by forgot-password."""
        return self.generates and self.permanent and not self.password.recipients

    @property
    def skips(self) -> frozenset[str]:
        """Return the kinds of users to skip.

        A scramble skips users who could not recover, unless the job accepts that.
        """
        strands = self.scrambles and not self.campaign.accept_lockout
        return frozenset(self.plan.skip) | ({"unrecoverable"} if strands else frozenset())

    @property
    def steps(self) -> tuple[Step, ...]:
        """Return the steps that are taken for users after their password was set, in order."""
        asked = self.after.model_dump()
        asked["sign_out"] = self.scrambles if self.after.sign_out is None else self.after.sign_out
        return tuple(step for step in STEPS.values() if asked[step.name])
