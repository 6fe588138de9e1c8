-- A relation, %(schema)s and %(name)s, as a question about its rows needs it: a row, or none where it is not there.
-- `hidden`: policies would hide rows. `outside`: rows of it, or of a table that inherits from it, lie with another server.
-- `keys`: the columns of each unique key that holds at once and without a condition, by its name.
-- `columns`: [name, place, type as it is cast to, what kind, not null, computed]; a domain counts as what it is over.
-- `kind` is "plain" for what PostgreSQL itself compares, "printed" for what it only prints, "other" for what may run
-- somebody's code.
WITH RECURSIVE heirs AS (
  SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = %(schema)s AND c.relname = %(name)s
  UNION
  SELECT i.inhrelid FROM pg_inherits i JOIN heirs h ON h.oid = i.inhparent
), chain AS (
  SELECT a.attnum, a.atttypid AS type, a.atttypmod AS typmod, 0 AS depth
  FROM pg_attribute a
  WHERE a.attrelid = (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                      WHERE n.nspname = %(schema)s AND c.relname = %(name)s)
    AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT c.attnum, t.typbasetype, CASE WHEN t.typtypmod >= 0 THEN t.typtypmod ELSE c.typmod END, c.depth + 1
  FROM chain c JOIN pg_type t ON t.oid = c.type AND t.typtype = 'd'
), base AS (
  SELECT DISTINCT ON (c.attnum) c.attnum, format_type(c.type, c.typmod) AS type, leaf.oid AS leaf,
    leaf.typtype AS leaf_kind, leaf.typname AS leaf_name,
    leaf.oid < 16384 AND leaf.typnamespace = 'pg_catalog'::regnamespace AS built_in
  FROM chain c
  JOIN pg_type t ON t.oid = c.type
  LEFT JOIN pg_type e ON e.oid = t.typelem AND e.typarray = t.oid
  JOIN pg_type leaf ON leaf.oid = coalesce(e.oid, t.oid)
  ORDER BY c.attnum, c.depth DESC
)
SELECT c.oid, c.relkind AS kind, c.relispopulated AS filled,
  has_schema_privilege(c.relnamespace, 'USAGE')
    AND (has_table_privilege(c.oid, 'SELECT') OR has_any_column_privilege(c.oid, 'SELECT')) AS readable,
  row_security_active(c.oid) AS hidden,
  EXISTS (SELECT FROM heirs h JOIN pg_class k ON k.oid = h.oid WHERE k.relkind = 'f') AS outside,
  EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attisdropped) AS dropped,
  (SELECT coalesce(json_object_agg(x.relname, (
      SELECT json_agg(a.attname ORDER BY k.place)
      FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (attnum, place)
      JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
      WHERE k.place <= i.indnkeyatts)), '{}')
   FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
   WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
     AND i.indexprs IS NULL AND i.indpred IS NULL) AS keys,
  (SELECT coalesce(json_agg(json_build_array(
      a.attname, a.attnum, b.type,
      CASE WHEN b.leaf_kind = 'e' THEN 'plain'
           WHEN NOT b.built_in OR b.leaf_name LIKE 'reg%%' THEN 'other'
           WHEN b.leaf_kind IN ('r', 'm') OR b.leaf_name = 'varchar'
             OR EXISTS (SELECT FROM pg_opclass o JOIN pg_am m ON m.oid = o.opcmethod
                        WHERE o.opcintype = b.leaf AND o.opcdefault AND m.amname = 'btree') THEN 'plain'
           WHEN b.leaf_kind = 'b' THEN 'printed'
           ELSE 'other' END,
      a.attnotnull, a.attgenerated <> '') ORDER BY a.attnum), '[]')
   FROM base b JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = b.attnum) AS columns
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(name)s
