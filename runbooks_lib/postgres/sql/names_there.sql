-- Which of these are there: relations and enums, where %(parts)s is empty; columns of relations and labels of enums.
SELECT wanted.schema, wanted.name, wanted.part
FROM unnest(%(schemas)s::text[], %(names)s::text[], %(parts)s::text[]) AS wanted (schema, name, part)
JOIN pg_namespace n ON n.nspname = wanted.schema
WHERE EXISTS (
    SELECT FROM pg_class c
    WHERE c.relnamespace = n.oid AND c.relname = wanted.name
      AND (wanted.part = '' OR EXISTS (
          SELECT FROM pg_attribute a
          WHERE a.attrelid = c.oid AND a.attname = wanted.part AND NOT a.attisdropped)))
   OR EXISTS (
    SELECT FROM pg_type t
    WHERE t.typnamespace = n.oid AND t.typname = wanted.name AND t.typtype = 'e'
      AND (wanted.part = '' OR EXISTS (
          SELECT FROM pg_enum e WHERE e.enumtypid = t.oid AND e.enumlabel = wanted.part)))
