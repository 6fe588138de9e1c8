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
), parts AS (
  SELECT b.*, t.typname, tn.nspname, t.typtype, leaf.oid AS leaf, leaf.typtype AS leaf_kind, e.oid IS NOT NULL AS is_array,
    coalesce(sub.typtype, 'b') AS sub_kind
  FROM base AS b
  JOIN pg_catalog.pg_type AS t ON t.oid = b.type
  JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.typnamespace
  LEFT JOIN pg_catalog.pg_type AS e ON e.oid = t.typelem AND e.typarray = t.oid
  JOIN pg_catalog.pg_type AS leaf ON leaf.oid = coalesce(e.oid, t.oid)
  LEFT JOIN pg_catalog.pg_range AS r ON leaf.oid IN (r.rngtypid, r.rngmultitypid)
  LEFT JOIN pg_catalog.pg_type AS sub ON sub.oid = r.rngsubtype
)
SELECT p.name, p.attnum, p.nspname AS type_schema, p.typname AS type_name, p.is_domain,
  p.leaf_kind IN ('b', 'e') OR (p.leaf_kind IN ('r', 'm') AND p.sub_kind = 'b') AS readable,
  CASE WHEN p.is_array AND (eq.name IS NOT NULL OR p.leaf_kind <> 'b') THEN 'array_eq'
    WHEN p.leaf_kind = 'e' THEN 'enum_eq' WHEN p.leaf_kind = 'r' THEN 'range_eq' WHEN p.leaf_kind = 'm' THEN 'multirange_eq'
    END AS equality,
  CASE WHEN NOT p.is_array THEN eq.schema END AS operator_schema,
  CASE WHEN NOT p.is_array THEN eq.name END AS operator_name,
  CASE WHEN NOT p.is_array THEN eq.as_schema END AS as_schema,
  CASE WHEN NOT p.is_array THEN eq.as_name END AS as_name
FROM parts AS p
LEFT JOIN LATERAL (
  SELECT opn.nspname AS schema, op.oprname::text AS name,
    CASE WHEN c.opcintype <> p.leaf THEN inn.nspname END AS as_schema,
    CASE WHEN c.opcintype <> p.leaf THEN operand.typname END AS as_name
  FROM pg_catalog.pg_opclass AS c
  JOIN pg_catalog.pg_am AS m ON m.oid = c.opcmethod AND m.amname IN ('btree', 'hash')
  JOIN pg_catalog.pg_amop AS o ON o.amopfamily = c.opcfamily AND o.amoplefttype = c.opcintype
    AND o.amoprighttype = c.opcintype AND o.amopstrategy = CASE m.amname WHEN 'btree' THEN 3 ELSE 1 END
  JOIN pg_catalog.pg_operator AS op ON op.oid = o.amopopr
  JOIN pg_catalog.pg_namespace AS opn ON opn.oid = op.oprnamespace
  JOIN pg_catalog.pg_proc AS f ON f.oid = op.oprcode
  JOIN pg_catalog.pg_roles AS maker ON maker.oid = f.proowner AND maker.rolsuper
  JOIN pg_catalog.pg_type AS operand ON operand.oid = c.opcintype
  JOIN pg_catalog.pg_namespace AS inn ON inn.oid = operand.typnamespace
  WHERE c.opcdefault AND p.leaf_kind = 'b' AND (c.opcintype = p.leaf OR EXISTS (
    SELECT FROM pg_catalog.pg_cast AS k
    WHERE k.castsource = p.leaf AND k.casttarget = c.opcintype AND k.castmethod = 'b' AND k.castcontext = 'i'))
  ORDER BY c.opcintype = p.leaf DESC, m.amname, c.oid
  LIMIT 1
) AS eq ON true
