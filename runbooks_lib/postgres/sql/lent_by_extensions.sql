-- What extensions made and an ordinary role needs to restore what hangs on it: what is granted, with its names.
SELECT 'USAGE ON FOREIGN DATA WRAPPER {}' AS what, ARRAY[f.fdwname::text] AS names
FROM pg_foreign_data_wrapper f
UNION ALL
SELECT 'ALL ON TABLE {}', ARRAY[n.nspname::text, c.relname::text]
FROM pg_extension e
CROSS JOIN LATERAL unnest(e.extconfig) AS config (relation)
JOIN pg_class c ON c.oid = config.relation
JOIN pg_namespace n ON n.oid = c.relnamespace
