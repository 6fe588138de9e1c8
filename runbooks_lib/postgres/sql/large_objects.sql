-- The number of large objects, and a digest of their numbers and contents.
SELECT count(*) AS n,
       encode(sha256(convert_to(
           coalesce(string_agg(oid::text || ' ' || encode(sha256(lo_get(oid)), 'hex'), ',' ORDER BY oid), ''),
           'UTF8')), 'hex') AS digest
FROM pg_largeobject_metadata
