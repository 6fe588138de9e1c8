-- The roles of a lab for somebody's own project. Passwords are not here: each machine's lab gets its own.
CREATE ROLE replicator LOGIN REPLICATION;
CREATE ROLE app LOGIN; -- owns what the project's migrations create, and carries the phases out

GRANT pg_read_all_stats TO app;
