-- What planning a query over a table can call, before a row is read: functions without a variable argument in index
-- predicates, index and statistics expressions and partition keys. PostgreSQL evaluates immutable ones with the rights
-- of whoever asks. Those that a superuser owns are trusted as the server is.
SELECT pg_describe_object(d.classid, d.objid, 0) AS object, p.oid::regprocedure::text AS function, r.rolname AS owner
FROM pg_depend d
LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
JOIN pg_proc p ON p.oid = CASE d.refclassid WHEN 'pg_proc'::regclass THEN d.refobjid ELSE o.oprcode::oid END
JOIN pg_roles r ON r.oid = p.proowner AND NOT r.rolsuper
WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
  AND d.classid IN ('pg_class'::regclass, 'pg_statistic_ext'::regclass)
ORDER BY 1, 2
LIMIT 1
