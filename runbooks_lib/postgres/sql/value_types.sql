-- How the values of some columns of a table are read, compared and printed: one row a column.
-- A domain counts as what it is a domain over, so that none of its CHECKs is run. `readable`: text is read by input
-- functions that only a superuser could make. `equality`: the function of pg_catalog for arrays, enums and ranges; an
-- operator could take an owner's cast to another type. `operator_*`: the equality of the type's default operator class,
-- of the type itself or of one that it is stored alike with, made by a superuser. Neither: it has none.
WITH RECURSIVE wanted AS (
  SELECT a.attname::text AS name, a.attnum, a.atttypid AS type
  FROM pg_catalog.pg_attribute AS a
  WHERE a.attrelid = %(table)s AND a.attnum > 0 AND NOT a.attisdropped AND a.attname = ANY (%(columns)s)
), chain AS (
  SELECT name, attnum, type, 0 AS depth FROM wanted
  UNION ALL
  SELECT c.name, c.attnum, t.typbasetype, c.depth + 1
  FROM chain AS c JOIN pg_catalog.pg_type AS t ON t.oid = c.type AND t.typtype = 'd'
), base AS (
  SELECT DISTINCT ON (name) name, attnum, type, depth > 0 AS is_domain FROM chain ORDER BY name, depth DESC
), parts AS MATERIALIZED (
  SELECT b.*, t.typname, t.typnamespace, leaf.oid AS leaf, leaf.typtype AS leaf_kind, e.oid IS NOT NULL AS is_array,
    coalesce((SELECT sub.typtype FROM pg_catalog.pg_range AS r JOIN pg_catalog.pg_type AS sub ON sub.oid = r.rngsubtype
              WHERE leaf.oid IN (r.rngtypid, r.rngmultitypid)), 'b') AS sub_kind
  FROM base AS b
  JOIN pg_catalog.pg_type AS t ON t.oid = b.type
  LEFT JOIN pg_catalog.pg_type AS e ON e.oid = t.typelem AND e.typarray = t.oid
  JOIN pg_catalog.pg_type AS leaf ON leaf.oid = coalesce(e.oid, t.oid)
), treated AS MATERIALIZED (
  SELECT p.*, eq.*
  FROM parts AS p
  LEFT JOIN LATERAL (
    SELECT op.oprnamespace, op.oprname, c.opcintype
    FROM (
      SELECT c.oid, c.opcfamily, c.opcintype, m.amname
      FROM pg_catalog.pg_opclass AS c JOIN pg_catalog.pg_am AS m ON m.oid = c.opcmethod
      WHERE m.amname IN ('btree', 'hash') AND c.opcdefault AND p.leaf_kind = 'b' AND (c.opcintype = p.leaf OR EXISTS (
        SELECT FROM pg_catalog.pg_cast AS k
        WHERE k.castsource = p.leaf AND k.casttarget = c.opcintype AND k.castmethod = 'b' AND k.castcontext = 'i'))
      OFFSET 0 -- these few are found first
    ) AS c
    JOIN pg_catalog.pg_amop AS o ON o.amopfamily = c.opcfamily AND o.amoplefttype = c.opcintype
      AND o.amoprighttype = c.opcintype AND o.amopstrategy = CASE c.amname WHEN 'btree' THEN 3 ELSE 1 END
    JOIN pg_catalog.pg_operator AS op ON op.oid = o.amopopr
    WHERE (SELECT maker.rolsuper FROM pg_catalog.pg_proc AS f JOIN pg_catalog.pg_roles AS maker ON maker.oid = f.proowner
           WHERE f.oid = op.oprcode)
    ORDER BY c.opcintype = p.leaf DESC, c.amname, c.oid
    LIMIT 1
  ) AS eq ON true
)
-- Names come last: as joins they would make planning dearer than all the rest.
SELECT p.name, p.attnum, p.is_domain, p.typname AS type_name,
  (SELECT nspname FROM pg_catalog.pg_namespace WHERE oid = p.typnamespace) AS type_schema,
  p.leaf_kind IN ('b', 'e') OR (p.leaf_kind IN ('r', 'm') AND p.sub_kind = 'b') AS readable,
  CASE WHEN p.is_array AND (p.oprname IS NOT NULL OR p.leaf_kind <> 'b') THEN 'array_eq'
    WHEN p.leaf_kind = 'e' THEN 'enum_eq' WHEN p.leaf_kind = 'r' THEN 'range_eq' WHEN p.leaf_kind = 'm' THEN 'multirange_eq'
    END AS equality,
  CASE WHEN NOT p.is_array THEN p.oprname::text END AS operator_name,
  CASE WHEN NOT p.is_array
    THEN (SELECT nspname FROM pg_catalog.pg_namespace WHERE oid = p.oprnamespace) END AS operator_schema,
  CASE WHEN NOT p.is_array AND p.opcintype <> p.leaf
    THEN (SELECT typname FROM pg_catalog.pg_type WHERE oid = p.opcintype) END AS as_name,
  CASE WHEN NOT p.is_array AND p.opcintype <> p.leaf
    THEN (SELECT n.nspname FROM pg_catalog.pg_type AS t JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
          WHERE t.oid = p.opcintype) END AS as_schema
FROM treated AS p
