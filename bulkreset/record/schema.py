"""The journal's schema: version 1 of the SQLite file that is the only truth about a run."""

APPLICATION_ID = 0x62_72_73_74  # "brst"
VERSION = 1

# status: ready, rejected, skipped; claimed (committed before its first call leaves); set, failed, in_doubt.
# pool: a number of `pools`, or the text as given where the job has no such user pool. Times are Unix milliseconds.
TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE pools (id INTEGER PRIMARY KEY, user_pool_id TEXT NOT NULL UNIQUE);
CREATE TABLE rows (
  row INTEGER PRIMARY KEY,
  pool,
  username TEXT NOT NULL,
  permanent INTEGER,
  status TEXT NOT NULL,
  code TEXT NOT NULL DEFAULT '',
  message TEXT NOT NULL DEFAULT '',
  attempts INTEGER NOT NULL DEFAULT 0,
  throttled INTEGER NOT NULL DEFAULT 0,
  in_doubt INTEGER NOT NULL DEFAULT 0,
  signed_out INTEGER,
  latency_ms INTEGER,
  request_id TEXT NOT NULL DEFAULT '',
  started_at INTEGER,
  finished_at INTEGER
);
"""

PLAN_ROW = "INSERT INTO rows (row, pool, username, permanent, status, code, message) VALUES (?, ?, ?, ?, ?, ?, ?)"

TWINS = """
CREATE TEMP TABLE twins AS
  SELECT pool, username, min(row) AS first, max(row) AS last
  FROM rows WHERE status = 'ready' GROUP BY pool, username HAVING count(*) > 1
"""

# Which of the rows that name one user is kept: none, the first or the last.
REJECT_TWINS = """
UPDATE rows SET status = 'rejected', code = 'duplicate_username',
  message = 'row ' || CASE rows.row WHEN twins.first THEN twins.last ELSE twins.first END || ' names the same user'
FROM twins
WHERE rows.status = 'ready' AND rows.pool = twins.pool AND rows.username = twins.username
  AND CASE :keep WHEN 'first' THEN rows.row <> twins.first WHEN 'last' THEN rows.row <> twins.last ELSE 1 END
"""

SENDABLE = """
SELECT row, username, user_pool_id, permanent, status = 'in_doubt'
FROM rows JOIN pools ON pools.id = rows.pool
WHERE row BETWEEN ? AND ? AND status IN ('ready', 'in_doubt') ORDER BY row
"""

READY = """
SELECT user_pool_id, permanent, count(*)
FROM rows JOIN pools ON pools.id = rows.pool WHERE status IN ('ready', 'in_doubt') GROUP BY 1, 2
"""

FIRST_SENDABLE = "SELECT coalesce(min(row), 1) FROM rows WHERE status IN ('ready', 'in_doubt')"

CLAIM = "UPDATE rows SET status = 'claimed' WHERE row = ?"

# A row tried again keeps the count of its earlier attempts, its first start and that it once was in doubt.
SETTLE = """
UPDATE rows SET status = ?, code = ?, message = ?, attempts = attempts + ?, throttled = throttled + ?,
  in_doubt = in_doubt OR ?, latency_ms = coalesce(?, latency_ms), request_id = ?,
  started_at = coalesce(started_at, ?), finished_at = coalesce(?, finished_at)
WHERE row = ?
"""

# What was claimed by a process that died is in doubt: its call may have been sent.
DOUBT_CLAIMED = "UPDATE rows SET status = 'in_doubt', in_doubt = 1 WHERE status = 'claimed'"

# What settled in the last milliseconds before the newest outcome.
RECENT = """
SELECT count(*), min(finished_at), max(finished_at) FROM rows
WHERE finished_at > (SELECT max(finished_at) FROM rows) - ?
"""

FAILED_CODES = "SELECT code, count(*) FROM rows WHERE status = 'failed' GROUP BY code"
REVIVE_FAILED = "UPDATE rows SET status = 'ready', code = '', message = '' WHERE status = 'failed'"

REPORT = """
SELECT row, coalesce(user_pool_id, pool, ''), username,
  CASE status WHEN 'claimed' THEN 'in_doubt' WHEN 'ready' THEN :unsent ELSE status END,
  code, message, attempts, throttled, in_doubt OR status = 'claimed', permanent, signed_out, latency_ms, request_id,
  strftime('%Y-%m-%dT%H:%M:%fZ', started_at / 1000.0, 'unixepoch'),
  strftime('%Y-%m-%dT%H:%M:%fZ', finished_at / 1000.0, 'unixepoch')
FROM rows LEFT JOIN pools ON typeof(rows.pool) = 'integer' AND pools.id = rows.pool
ORDER BY row
"""
