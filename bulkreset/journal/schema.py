"""The journal's SQLite schema and its statements; the journal is the only authority on a run's state."""

from collections.abc import Iterable

from bulkreset import statuses, steps
from bulkreset.statuses import Status, sql_list
from bulkreset.steps import COLUMNS, STEPS

APPLICATION_ID = 0x62_72_73_74  # "brst"
VERSION = 5
MAX_TIME = 253_402_300_799_999  # Unix milliseconds: the end of the year 9999

_STEP_COLUMNS = "\n".join(f"  {column} INTEGER," for column in COLUMNS)

# status: a Status; claimed is committed before the first call of a row is sent.
# canonical: the user's own name, if the directory was checked and the name differs from the username.
# recovery: how the pool can send the user a code: email, phone, none, unknown; NULL if the user was not looked up.
# pool: an id of `pools`, or "" if the row names no user pool of the job. Times are Unix milliseconds.
TABLES = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE pools (id INTEGER PRIMARY KEY, user_pool_id TEXT NOT NULL UNIQUE);
CREATE TABLE rows (
  row INTEGER PRIMARY KEY,
  pool,
  username TEXT NOT NULL,
  permanent INTEGER,
  status TEXT NOT NULL,
  code TEXT NOT NULL,
  message TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  throttled INTEGER NOT NULL DEFAULT 0,
  in_doubt INTEGER NOT NULL DEFAULT 0,
{_STEP_COLUMNS}
  latency_ms INTEGER,
  request_id TEXT NOT NULL DEFAULT '',
  started_at INTEGER,
  finished_at INTEGER,
  status_before TEXT,
  recovery TEXT,
  canonical TEXT
);
CREATE TABLE files (
  number INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  size INTEGER NOT NULL,
  sha256 TEXT NOT NULL,
  version TEXT NOT NULL,
  first_row INTEGER UNIQUE
);
CREATE TABLE rates (
  at_ms INTEGER NOT NULL,
  account TEXT NOT NULL,
  region TEXT NOT NULL,
  rate REAL NOT NULL,
  reason TEXT NOT NULL
);
"""

PERHAPS_SET = f"""
SELECT count(*) FROM rows WHERE status IN {sql_list((Status.SET, *statuses.UNCERTAIN))} OR in_doubt
"""  # noqa: S608  (our own text)
_SENDABLE = sql_list(statuses.SENDABLE)
# The status in the report of an ended run. It depends on the kind of run only for a row that was not sent.
_AT_END = "CASE status {} WHEN 'ready' THEN :unsent ELSE status END".format(
    " ".join(
        f"WHEN '{one}' THEN '{one.at_end(dry_run=False)}'"
        for one in Status
        if one.facts.journal and one.facts.ended_as and one is not Status.READY
    )
)
# A set row is listed only if a step failed: after the failed rows, and before the rejected ones.
_SEVERITY = "CASE status {} END".format(
    " ".join(
        f"WHEN '{one}' THEN {one.facts.severity if one.facts.attention else 3.5}" for one in Status if one.facts.journal
    )
)

COPY = "VACUUM INTO ?"
FIRST_DAMAGE = "PRAGMA quick_check"  # 'ok' if there is none
WAIT_FOR_DISK = "PRAGMA synchronous = FULL"
MOVE_LOG = "PRAGMA wal_checkpoint(PASSIVE)"
SET_FACT = "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)"
FACTS = "SELECT key, value FROM meta"
ADD_POOL = "INSERT INTO pools (user_pool_id) VALUES (?)"
POOL_IDS = "SELECT user_pool_id, id FROM pools"

_PLAN = "INSERT INTO rows (row, pool, username, permanent, status, code, message)"
PLAN_ROW = f"{_PLAN} VALUES (?, ?, ?, ?, ?, ?, ?)"
# Rows that differ in their number and username only; the usernames are a JSON array. It takes a third of the time.
PLAN_ALIKE = f"{_PLAN} SELECT ? + key, ?, value, ?, ?, ?, ? FROM json_each(?)"  # noqa: S608  (our own text)

FILE = "INSERT INTO files (number, name, size, sha256, version, first_row) VALUES (?, ?, ?, ?, ?, ?)"
FILES = "SELECT name, size, sha256, version, first_row FROM files ORDER BY number"
BEGIN_FILE = "UPDATE files SET first_row = ? WHERE number = ?"
FINGERPRINT = "UPDATE files SET size = ?, sha256 = ?, version = ? WHERE number = ?"

# Store the result of checking a row; canonical is stored only if it differs from the username. A result without a message
# keeps the warning that the row has.
CHECKED = """
UPDATE rows SET status = ?, code = ?, message = coalesce(nullif(?, ''), message), status_before = nullif(?, ''), recovery = nullif(?, ''), canonical = nullif(nullif(?, ''), username)
WHERE row = ? AND status = 'ready'
"""

ROWS_TO_CHECK = """
SELECT row, user_pool_id, username FROM rows JOIN pools ON pools.id = rows.pool WHERE status = 'ready' ORDER BY pool, username
"""

# The user of a row: the user's own name if it is known, else the username; folded if the pool folds names.
_WHO = (
    "CASE WHEN rows.pool IN (SELECT id FROM pools WHERE user_pool_id IN (SELECT value FROM json_each(:folding)))"
    " THEN fold(coalesce(canonical, username)) ELSE coalesce(canonical, username) END"
)

# Most inputs have none. Without the first and the last row of each user, SQLite needs half the time to say so.
HAS_DUPLICATES = f"SELECT 1 FROM rows WHERE status = 'ready' GROUP BY {_WHO}, pool HAVING count(*) > 1"  # noqa: S608  (as above)

DUPLICATES = f"""
CREATE TEMP TABLE twins AS
  SELECT rows.pool AS pool, {_WHO} AS who, min(row) AS first, max(row) AS last
  FROM rows WHERE status = 'ready' GROUP BY 2, 1 HAVING count(*) > 1
"""  # noqa: S608  (our own text)

INDEX_TWINS = "CREATE INDEX temp.twin ON twins (who, pool)"
FORGET_TWINS = "DROP TABLE twins"

# Of the rows that name the same user, keep none, the first or the last.
REJECT_DUPLICATES = f"""
UPDATE rows SET status = 'rejected', code = 'duplicate_username',
  message = 'row ' || CASE rows.row WHEN twins.first THEN twins.last ELSE twins.first END || ' names the same user'
FROM twins
WHERE rows.status = 'ready' AND rows.pool = twins.pool AND {_WHO} = twins.who
  AND rows.row <> CASE :keep WHEN 'first' THEN twins.first WHEN 'last' THEN twins.last ELSE 0 END
"""  # noqa: S608  (as above)

_SENDABLE_ROWS = f"""
SELECT row, username, user_pool_id, permanent, in_doubt OR status = 'in_doubt', status = 'ready' AND code <> '',
  iif(in_doubt, started_at, NULL), coalesce(canonical, '')
FROM rows JOIN pools ON pools.id = rows.pool WHERE status IN {_SENDABLE}
"""  # noqa: S608  (our own text)
SENDABLE = f"{_SENDABLE_ROWS} AND row BETWEEN ? AND ? ORDER BY row"
SENDABLE_AFTER = f"""
{_SENDABLE_ROWS} AND row > ? AND user_pool_id IN (SELECT value FROM json_each(?)) ORDER BY row LIMIT ?
"""  # noqa: S608  (our own text)

# Count the rows in a range that are still to be sent, by user pool.
SENDABLE_PAGE = f"""
SELECT user_pool_id, count(*) FROM rows JOIN pools ON pools.id = rows.pool
WHERE row BETWEEN ? AND ? AND status IN {_SENDABLE} GROUP BY pool
"""  # noqa: S608  (our own text)

SET_ROWS = """
SELECT row, user_pool_id, username, coalesce(canonical, username), permanent, started_at, finished_at
FROM rows JOIN pools ON pools.id = rows.pool WHERE status = 'set' ORDER BY row
"""

SET_ROW = SET_ROWS.replace("ORDER BY row", "AND row = ?")

SENDABLE_RANGE = f"SELECT min(row), max(row) FROM rows WHERE status IN {_SENDABLE}"  # noqa: S608  (our own text)

# The time of the claim is before the row's first call. It is kept only if the process dies before it records the call.
CLAIM = "UPDATE rows SET status = 'claimed', started_at = coalesce(started_at, ?) WHERE row = ?"

# A retried row keeps its count of earlier attempts, its first start time and its in_doubt flag. A row that is given
# back keeps its code, message and request ID. A row in doubt is decided by what happened since started_at. So if a
# retried row's answer is lost, its start time is no longer that of an earlier call, which was refused.
SETTLE = f"""
UPDATE rows SET status = :status, code = iif(:status IN {_SENDABLE} AND :code = '', code, :code),
  message = iif(:status IN {_SENDABLE} AND :code = '', message, :message),
  attempts = attempts + :attempts, throttled = throttled + :throttled, in_doubt = in_doubt OR :in_doubt, latency_ms = coalesce(:latency_ms, latency_ms),
  request_id = iif(:status IN {_SENDABLE} AND :code = '', request_id, :request_id), finished_at = coalesce(:finished_at, finished_at),
  started_at = CASE
    WHEN in_doubt THEN coalesce(started_at, :started_at)
    WHEN :in_doubt THEN coalesce(:started_at, finished_at, started_at)
    WHEN attempts = 0 THEN :started_at
    ELSE coalesce(started_at, :started_at) END
WHERE row = :row
"""  # noqa: S608  (our own text)

RATE = "INSERT INTO rates (at_ms, account, region, rate, reason) VALUES (?, ?, ?, ?, ?)"
RATES = "SELECT account, region, count(*) FROM rates GROUP BY 1, 2"

# A step of a set row is pending while its column is NULL; 1: done, 0: failed. The steps of a row are taken one after the
# other: {order} is an expression for its next step, which depends on the run (see `step_order`). The index has only the
# rows that have a next step.
POOL = "SELECT id FROM pools WHERE user_pool_id = ?"
FORGET_STEP_ORDER = "DROP INDEX IF EXISTS to_step"
INDEX_STEPS = "CREATE INDEX to_step ON rows (pool, {order}) WHERE status = 'set' AND {order} IS NOT NULL"
TO_STEP = """
SELECT row, username FROM rows INDEXED BY to_step
WHERE pool = ? AND {order} = ? AND status = 'set' LIMIT ?
"""
STEP_DONE = "UPDATE rows SET {column} = 1 WHERE row = :row"
# A row has the code of its first failed step, and the messages of all failed steps.
STEP_FAILED = f"""
UPDATE rows SET {{column}} = 0, code = coalesce(nullif(code, ''), :code),
  message = iif(code = '', :message, message || '; ' || replace(:message, '{steps.ONLY}', ''))
WHERE row = :row
"""  # noqa: S608  (our own text)
STEP_COUNTS = """
SELECT user_pool_id, total({column}), total({column} = 0), total({column} IS NULL)
FROM rows JOIN pools ON pools.id = rows.pool WHERE status = 'set' GROUP BY 1
"""
_HAS_FAILED_STEP = f"0 IN ({', '.join(COLUMNS)})"
FAILED_STEP_ROWS = f"SELECT count(*) FROM rows WHERE {_HAS_FAILED_STEP}"  # noqa: S608  (our own text)


def step_order(taken: Iterable[tuple[str, Iterable[int]]]) -> str:
    """Return the expression for a row's next step: the first one that is pending and is taken in the row's pool.

    `taken` is (step, ids of the pools in which it is taken), in order.
    """
    cases = "".join(
        f" WHEN {STEPS[name].column} IS NULL AND pool IN ({', '.join(map(str, sorted(pools)))}) THEN '{name}'"
        for name, pools in taken
    )
    return f"CASE{cases} END"


# Count the rows by what they have in common. To group all rows takes much longer than to look at them, and nearly all are
# alike: COMMON tells what most of a few rows have, and rows that have the same are only counted together.
_IN_COMMON = ("pool", "permanent", "status", "code", "message <> ''", "status_before", "recovery")
COMMON = f"""
SELECT {", ".join(_IN_COMMON)} FROM rows
WHERE row IN (SELECT max(1, last * value / 8) FROM json_each('[0, 1, 2, 3, 4, 5, 6, 7, 8]'), (SELECT max(row) AS last FROM rows))
"""  # noqa: S608  (our own text)
NUMBER_OF_ROWS = "SELECT count(*) FROM rows"
UNCOMMON = f"""
SELECT {", ".join(_IN_COMMON)}, count(*) FROM rows WHERE NOT ({" AND ".join(f"({it}) IS ?" for it in _IN_COMMON)})
GROUP BY 1, 2, 3, 4, 5, 6, 7
"""  # noqa: S608  (as above)

# Find any cell of a type or value that no run writes, or a row that is not rejected and has an unknown pool. One
# changed bit can turn a text into bytes, and SQLite's own check does not detect that.
HAS_INVALID_CELLS = f"""
SELECT EXISTS (SELECT 1 FROM rows WHERE
  {" OR ".join(f"typeof({name}) <> 'text'" for name in ("username", "code", "message", "request_id"))}
  OR {" OR ".join(f"typeof({name}) <> 'integer'" for name in ("attempts", "throttled"))}
  OR {" OR ".join(f"typeof({name}) NOT IN ('integer', 'null')" for name in ("latency_ms", "started_at", "finished_at"))}
  OR typeof(pool) NOT IN ('integer', 'text') OR (status <> 'rejected' AND pool NOT IN (SELECT id FROM pools)) OR permanent NOT IN (0, 1)
  OR {" OR ".join(f"{column} NOT IN (0, 1)" for column in COLUMNS)}
  OR in_doubt NOT IN (0, 1) OR started_at NOT BETWEEN 0 AND {MAX_TIME} OR finished_at NOT BETWEEN 0 AND {MAX_TIME}
  OR typeof(status_before) NOT IN ('text', 'null') OR recovery NOT IN ('email', 'phone', 'none', 'unknown') OR typeof(canonical) NOT IN ('text', 'null'))
"""  # noqa: S608  (our own text)

# Rows claimed by a process that died are in doubt: their calls may have been sent.
# Keep the code and message of an earlier doubt; clear those of a previous failure. After a failure the doubt began
# when its last call ended.
MARK_CLAIMED_IN_DOUBT = """
UPDATE rows SET status = 'in_doubt', in_doubt = 1, code = iif(in_doubt, code, ''), message = iif(in_doubt, message, ''),
  started_at = iif(in_doubt, started_at, coalesce(finished_at, started_at))
WHERE status = 'claimed'
"""

# Count the rows of a wave: those that finished since a point in time.
FINISHED_SINCE = f"SELECT count(*) FROM rows WHERE finished_at >= ? AND status IN {sql_list(statuses.FINISHED)}"  # noqa: S608  (our own text)

# Count the rows that finished in the last milliseconds before the newest outcome.
RECENT_RATE = """
SELECT count(*), min(finished_at), max(finished_at) FROM rows
WHERE finished_at > (SELECT max(finished_at) FROM rows) - ?
"""

# Select the rows of this plan that differ from the journal attached as `other`, and how many there are.
DIFFERENT_ROWS = """
SELECT count(*) OVER (), row, was.status, was.code, now.status, now.code
FROM main.rows AS now JOIN other.rows AS was USING (row)
WHERE now.status <> was.status OR now.code <> was.code OR now.permanent IS NOT was.permanent
  OR now.username <> was.username OR now.pool IS NOT was.pool
ORDER BY row
"""

MAKE_SET_ELSEWHERE = """
CREATE TEMP TABLE set_elsewhere (pool TEXT, username TEXT, PRIMARY KEY (pool, username)) WITHOUT ROWID
"""
FORGET_SET_ELSEWHERE = "DROP TABLE set_elsewhere"
# Count the ready rows whose user was set, or may have been set, by the run in the journal attached as `other`.
ALREADY_SET = """
SELECT count(*), coalesce(min(now.row), 0) FROM main.rows AS now JOIN main.pools AS here ON here.id = now.pool
WHERE now.status = 'ready' AND EXISTS (
  SELECT 1 FROM temp.set_elsewhere AS elsewhere WHERE elsewhere.pool = here.user_pool_id
  AND elsewhere.username IN (now.username, now.canonical))
"""
# A user without a canonical name has NULL as second name, which the key of the table ignores.
SET_ELSEWHERE = f"""
INSERT OR IGNORE INTO temp.set_elsewhere
SELECT there.user_pool_id, name.value FROM other.rows AS was JOIN other.pools AS there ON there.id = was.pool,
  json_each(json_array(was.username, was.canonical)) AS name
WHERE was.status = 'set' OR was.in_doubt OR was.status IN {sql_list(statuses.UNCERTAIN)}
"""  # noqa: S608  (our own text)

# Columns of the input that are carried into the report: a JSON array for each row, in the order of the job's names.
MAKE_CARRIED = "CREATE TABLE IF NOT EXISTS carried (row INTEGER PRIMARY KEY, cells TEXT NOT NULL)"
ADD_CARRIED = "INSERT INTO carried VALUES (?, ?)"
CARRIED = "SELECT row, cells FROM carried ORDER BY row"

FORGET_PLAN = "DELETE FROM rows; DROP TABLE IF EXISTS carried; UPDATE files SET first_row = NULL"

# Count the rows by a message of the plan, and name the first of them.
PLAN_MESSAGES = f"""
SELECT message, count(*) FROM rows WHERE status IN {sql_list(statuses.PLAN_REMARKS)} AND message LIKE ? || '%'
GROUP BY 1 ORDER BY 2 DESC, 1
"""  # noqa: S608  (our own text)
ROWS_WITH_MESSAGE = f"""
SELECT row FROM rows WHERE status IN {sql_list(statuses.PLAN_REMARKS)} AND message = ? ORDER BY row LIMIT ?
"""  # noqa: S608  (our own text)

TOTALS = "SELECT coalesce(sum(attempts), 0), coalesce(sum(throttled), 0) FROM rows"
HELD = "SELECT count(*), min(row), max(row) FROM rows"
FAILED_CODES = "SELECT code, count(*) FROM rows WHERE status = 'failed' GROUP BY code"
RETRY_STEPS = f"""
UPDATE rows SET {", ".join(f"{column} = nullif({column}, 0)" for column in COLUMNS)}, code = '', message = ''
WHERE status = 'set' AND {_HAS_FAILED_STEP}
"""  # noqa: S608  (our own text)
# A failed row that is retried keeps its code. The code distinguishes it from a row that was never sent: if it is not
# sent, it is marked failed again.
RETRY_FAILED = "UPDATE rows SET status = 'ready' WHERE status = 'failed'"
RESTORE_FAILED = "UPDATE rows SET status = 'failed' WHERE status = 'ready' AND code <> ''"

# The expressions of the report and of the page's tables have the order of ReportRow in models.py, which takes them by
# position. In the report, only the user pool and what a row has for itself stand elsewhere: see _IN_REPORT.
_FACTS = f"""{{status}}, code, message, attempts, throttled,
  in_doubt OR status IN {sql_list(statuses.UNCERTAIN)}, permanent, {", ".join(COLUMNS)}"""
_OWN_FACTS = "latency_ms, request_id, started_at, finished_at"
_LAST_FACTS = "coalesce(status_before, ''), coalesce(recovery, ''), {file}"
_POOL_OF_ROW = "LEFT JOIN pools ON typeof(rows.pool) = 'integer' AND pools.id = rows.pool"
_WITH_POOL = f"FROM rows {_POOL_OF_ROW}"
# `wanted` is a JSON array of the wanted journal statuses. {file} is FILE_OF_ROW or :file. What many rows have in common is
# one value, as JSON, and what each row has for itself another: to fetch a value takes longer than to make it.
_IN_REPORT = f"""json_array(coalesce(user_pool_id, pool, ''), {_FACTS.format(status=_AT_END)}, {_LAST_FACTS}, canonical),
  json_array({_OWN_FACTS})"""
REPORT = f"""
SELECT row, username, {_IN_REPORT} {_WITH_POOL}
WHERE status IN (SELECT value FROM json_each(:wanted)) ORDER BY row
"""  # noqa: S608  (our own text)
# A row is like the first row of its block if it has the same in all columns but these two. The columns that differ most
# often are compared first.
REPORTED_APART = ("row", "username")
REPORTED_ALIKE = (
    *("finished_at", "canonical", "recovery", "status_before", "started_at", "request_id", "latency_ms", *COLUMNS),
    *("in_doubt", "throttled", "attempts", "message", "code", "status", "permanent", "pool"),
)
_LIKE_FIRST = f"""rows AS it, rows AS head
  WHERE it.row >= {{first}} AND it.row < {{first}} + :size AND head.row = {{first}} AND typeof(it.username) = 'text'
    AND {" AND ".join(f"it.{name} IS head.{name}" for name in REPORTED_ALIKE)}"""
# The report in blocks: the first row, the number of rows, what the first row has in common with others, and the rows that are
# like it: one text with their number and their usernames, by line. It is NULL for a block with rows of several files.
REPORT_BLOCKS = f"""
WITH RECURSIVE blocks (first) AS (
  SELECT min(row) FROM rows
  UNION ALL SELECT first + :size FROM blocks WHERE first + :size <= (SELECT max(row) FROM rows)
)
SELECT first, min(:size, (SELECT max(row) FROM rows) - first + 1), {_IN_REPORT}, iif(
  EXISTS (SELECT 1 FROM files WHERE first_row > first AND first_row < first + :size), NULL,
  (SELECT count(*) || char(10) || group_concat(username, char(10))
    FROM (SELECT it.username AS username FROM {_LIKE_FIRST.format(first="first")} ORDER BY it.row)))
FROM blocks LEFT JOIN rows ON row = first {_POOL_OF_ROW} WHERE first IS NOT NULL
"""  # noqa: S608  (our own text)
# The rows of a block; with :unlike, only those that are not like the first.
REPORT_BLOCK = f"""
SELECT row, username, {_IN_REPORT} {_WITH_POOL}
WHERE row >= :first AND row < :first + :size
  AND NOT (:unlike AND row IN (SELECT it.row FROM {_LIKE_FIRST.format(first=":first")}))
ORDER BY row
"""  # noqa: S608  (our own text)
FILE_OF_ROW = "coalesce((SELECT name FROM files WHERE first_row <= row ORDER BY first_row DESC LIMIT 1), '')"

# For the page: results are counted in buckets of time and latency, so that their size does not grow with the run.
# SENT_SINCE: the first begin and the last end of the calls answered since a moment.
SENT_SINCE = "SELECT min(finished_at - coalesce(latency_ms, 0)), max(finished_at) FROM rows WHERE finished_at >= ?"
SEND_SPAN = "SELECT min(coalesce(started_at, finished_at)), max(finished_at) FROM rows WHERE finished_at IS NOT NULL"
FINISHED_OVER_TIME = f"""
SELECT (finished_at - :first) / :width, total(status IN {sql_list(statuses.FINISHED)}), total(throttled)
FROM rows WHERE finished_at IS NOT NULL GROUP BY 1 ORDER BY 1
"""  # noqa: S608  (our own text)
# `rate` comes from the row with the greatest at_ms: SQLite does this for a query with a single max().
RATES_OVER_TIME = """
SELECT account, region, max(0, at_ms - :first) / :width, avg(rate), rate, max(at_ms) FROM rates GROUP BY 1, 2, 3
"""
RATE_CHANGES = "SELECT at_ms, account, region, rate, reason FROM rates ORDER BY at_ms, account, region LIMIT ?"
RATE_REASONS = (
    "SELECT account, region, reason, count(*), min(rate), max(rate) FROM rates GROUP BY 1, 2, 3 ORDER BY 1, 2, 4 DESC"
)
# Latencies below ten seconds are exact; longer ones are rounded down to a tenth of a second.
LATENCIES = """
SELECT CASE WHEN latency_ms < 10000 THEN latency_ms ELSE latency_ms / 100 * 100 END, count(*)
FROM rows WHERE latency_ms >= 0 GROUP BY 1 ORDER BY 1
"""
_SHOWN = f"""
SELECT row, coalesce(user_pool_id, pool, ''), username, {_FACTS.format(status="status")}, {_OWN_FACTS},
  {_LAST_FACTS.format(file="''")}, coalesce(canonical, username)
{_WITH_POOL}
"""
SLOWEST = f"{_SHOWN} WHERE latency_ms IS NOT NULL ORDER BY latency_ms DESC, row LIMIT ?"
# Select the rows that need attention, the most serious first.
ROWS_NEEDING_ATTENTION = f"""
{_SHOWN} WHERE status IN {sql_list(statuses.NEEDING_ATTENTION)} OR {_HAS_FAILED_STEP}
ORDER BY {_SEVERITY} DESC, row LIMIT ?
"""
