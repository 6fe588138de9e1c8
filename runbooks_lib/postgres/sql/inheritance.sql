-- Of one table: whether rows of inheriting tables show in it (partitions are its own rows), and whether a unique index
-- sees to it that no two rows that it shows have the same key: an index of its own knows nothing of theirs.
SELECT t.oid, t.children, t.is_unique AND NOT t.children AS "unique"
FROM (
  SELECT
    c.oid,
    c.relkind <> 'p' AND EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = c.oid) AS children,
    EXISTS (
      SELECT FROM pg_catalog.pg_index AS x
      WHERE x.indrelid = c.oid AND x.indisunique AND x.indisvalid AND x.indimmediate
        AND x.indpred IS NULL AND x.indexprs IS NULL
        AND NOT EXISTS (
          SELECT FROM unnest(x.indkey) WITH ORDINALITY AS k (attnum, place)
          JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.attnum
          WHERE k.place <= x.indnkeyatts AND NOT (k.attnum = ANY (%(key)s::int2[]) AND a.attnotnull)
        )
    ) AS is_unique
  FROM pg_catalog.pg_class AS c
  WHERE c.oid = %(table)s
) AS t
