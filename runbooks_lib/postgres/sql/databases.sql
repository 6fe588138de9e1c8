-- Every database of the server, and whether this role may connect to it.
SELECT
    d.datname AS name,
    pg_get_userbyid(d.datdba) AS owner,
    d.datallowconn AS allows_connections,
    d.datistemplate AS is_template,
    has_database_privilege(d.oid, 'CONNECT') AS may_connect
FROM pg_database d
ORDER BY d.datname
