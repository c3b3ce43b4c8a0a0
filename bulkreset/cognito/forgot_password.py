"""Judges from pool settings and user attributes whether a pool can send a user a recovery code."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from bulkreset.models import Recovery

EMAIL, PHONE = "email", "phone_number"
ADMIN_ONLY = "admin_only"
COGNITO_MAIL = "COGNITO_DEFAULT"  # Cognito's own mail account
MAILS_A_DAY = 50  # about this number of messages a day with COGNITO_DEFAULT, for the whole pool

_ATTRIBUTES = {"verified_email": EMAIL, "verified_phone_number": PHONE}
_WAYS = {EMAIL: Recovery.EMAIL, PHONE: Recovery.PHONE}
_LEGACY = ("verified_phone_number", "verified_email")  # without an AccountRecoverySetting Cognito prefers the phone
_MEDIA = {"SMS": PHONE, "EMAIL": EMAIL}


class Mfa(StrEnum):
    """Which users of a pool have one kind of MFA. ListUsers does not say it for each user."""

    NOBODY = "nobody"
    SOME = "some"
    EVERYBODY = "everybody"


@dataclass(frozen=True, slots=True)
class RecoverySettings:
    """A pool's settings for forgot-password.

    `mechanisms` are in the order in which Cognito tries them. `legacy`: the pool has no AccountRecoverySetting; then
    MFA does not disqualify a mechanism. `sms_mfa` and `email_mfa` disqualify the phone and the e-mail address of the
    users who have them. `sends_sms`: the pool has an SmsConfiguration; `sms_problem` says why it cannot send.
    `mail_account` is "" if unknown.
    """

    mechanisms: tuple[str, ...] = _LEGACY
    legacy: bool = True
    sms_mfa: Mfa = Mfa.NOBODY
    email_mfa: Mfa = Mfa.NOBODY
    sends_sms: bool = True
    sms_problem: str = ""
    mail_account: str = ""

    @property
    def admin_only(self) -> bool:
        """Return whether forgot-password is off."""
        return ADMIN_ONLY in self.mechanisms

    @property
    def locks_out(self) -> str:
        """Return why no user of the pool can recover an account, or "" if some can."""
        if self.admin_only:
            return "its account recovery is admin_only, which switches forgot-password off"
        if any(not self._is_closed(name) for name in self.mechanisms):
            return ""
        sms = not self.sends_sms and "verified_phone_number" in self.mechanisms
        why = (
            "the pool has no SMS configuration" if sms else "every user has MFA of the same kind, which disqualifies it"
        )
        return f"its only way to recover an account ({', '.join(self.mechanisms)}) is closed: {why}"

    def _is_closed(self, mechanism: str) -> bool:
        """Return whether no user can use the mechanism."""
        attribute = _ATTRIBUTES.get(mechanism)
        no_sms = attribute == PHONE and not self.sends_sms
        return attribute is not None and (no_sms or self.mfa(attribute) is Mfa.EVERYBODY)

    def mfa(self, attribute: str) -> Mfa:
        """Return which users have MFA that disqualifies the mechanism of an attribute."""
        if self.legacy:
            return Mfa.NOBODY
        return self.sms_mfa if attribute == PHONE else self.email_mfa

    def way_back(self, verified: AbstractSet[str], mfa: AbstractSet[str] = frozenset()) -> Recovery:
        """Return how the pool can send a user a code.

        `verified` has the user's verified attributes, `mfa` those that are known to be used for MFA. UNKNOWN: it
        depends on the user's MFA, which only a billed call returns, or on what Cognito does if it cannot send an SMS.
        """
        if self.admin_only:
            return Recovery.NONE
        doubtful = unsendable = False
        for mechanism in self.mechanisms:
            attribute = _ATTRIBUTES.get(mechanism)
            if attribute is None:  # a mechanism that this program does not know
                doubtful = True
                continue
            disqualifies = Mfa.EVERYBODY if attribute in mfa and not self.legacy else self.mfa(attribute)
            if attribute not in verified or disqualifies is Mfa.EVERYBODY:
                continue
            if attribute == PHONE and not self.sends_sms:
                unsendable = True
            elif disqualifies is Mfa.SOME:
                doubtful = True
            else:
                return Recovery.UNKNOWN if unsendable else _WAYS[attribute]
        return Recovery.UNKNOWN if doubtful else Recovery.NONE


def read_settings(pool: Mapping[str, Any]) -> RecoverySettings:
    """Return the settings in a UserPoolType. MFA is decided as far as DescribeUserPool returns it; see `with_mfa`.

    Raises AttributeError, KeyError, TypeError or ValueError if a field does not have the API's format.
    """
    found: Any = pool.get("AccountRecoverySetting") or {}
    options = sorted(found.get("RecoveryMechanisms") or (), key=lambda option: int(option["Priority"]))
    mails: Any = pool.get("EmailConfiguration") or {}
    settings = RecoverySettings(
        mechanisms=tuple(str(option["Name"]) for option in options) or _LEGACY,
        legacy=not options,
        sends_sms=bool(pool.get("SmsConfiguration")),
        sms_problem=str(pool.get("SmsConfigurationFailure") or ""),
        mail_account=str(mails.get("EmailSendingAccount") or COGNITO_MAIL),
    )
    return with_mfa(settings, str(pool.get("MfaConfiguration") or "OFF"), None, str(pool.get("UserPoolTier") or ""))


def with_mfa(
    settings: RecoverySettings, required: str, kinds: AbstractSet[str] | None, tier: str = ""
) -> RecoverySettings:
    """Return the settings with what is known about the users' MFA.

    `required` is the pool's MfaConfiguration. `kinds` has the kinds of MFA that the pool offers: SMS, EMAIL, TOTP,
    PASSKEY; None if unknown.
    """
    possible = {"SMS", "EMAIL", "TOTP", "PASSKEY"} if kinds is None else kinds
    if not settings.sends_sms:
        possible = possible - {"SMS"}
    if tier == "LITE":
        possible = possible - {"EMAIL"}

    def use(kind: str) -> Mfa:
        if required == "OFF" or kind not in possible:
            return Mfa.NOBODY
        return Mfa.EVERYBODY if required == "ON" and kinds == {kind} else Mfa.SOME

    return replace(settings, sms_mfa=use("SMS"), email_mfa=use("EMAIL"))


def kinds_of_mfa(answer: Mapping[str, Any]) -> frozenset[str]:
    """Return the kinds of MFA that an answer of GetUserPoolMfaConfig offers."""
    passkeys: Any = answer.get("WebAuthnConfiguration") or {}
    offered = {
        "SMS": bool((answer.get("SmsMfaConfiguration") or {}).get("SmsConfiguration")),
        "TOTP": (answer.get("SoftwareTokenMfaConfiguration") or {}).get("Enabled") is True,
        "EMAIL": answer.get("EmailMfaConfiguration") is not None,
        "PASSKEY": passkeys.get("FactorConfiguration") == "MULTI_FACTOR_WITH_USER_VERIFICATION",
    }
    return frozenset(kind for kind, offers in offered.items() if offers)


def mfa_attributes(options: object) -> frozenset[str]:
    """Return the attributes that a user's MFAOptions name. Users with newer MFA settings have none there."""
    found: Any = options or ()
    return frozenset(_MEDIA[one["DeliveryMedium"]] for one in found if one.get("DeliveryMedium") in _MEDIA)
