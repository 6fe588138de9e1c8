-- How did a timeline come to be? Its history file, one line for each timeline before it; null without a file.
SELECT pg_read_file(
    'pg_wal/' || lpad(upper(to_hex(%(timeline)s::integer)), 8, '0') || '.history', 0, 1000000, true
) AS history
