"""The next step for a row, by its status and its code: one sentence for every code in a report."""

from bulkreset import causes
from bulkreset.cognito.response import HISTORY_VIOLATION
from bulkreset.statuses import Status, facts_of


def next_step(status: str, code: str) -> str:
    """Return the next step for rows with this status (the report's or the journal's) and this code."""
    if status == Status.SET and code:
        return causes.STEP.advice
    if status == Status.FAILED and code in causes.FATAL:
        return causes.advice_for(code, then="resume with --failed")
    if status == Status.IN_DOUBT and code == HISTORY_VIOLATION:
        return causes.NOT_SHOWN.advice
    table = causes.FAILED if status == Status.FAILED else {} if facts_of(status).finished else causes.PLAN
    return table[code].advice if code in table else facts_of(status).advice
