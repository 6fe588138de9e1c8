-- Extensions without which a table of this database cannot be made: a type, an operator or a function of theirs is in
-- its columns, their defaults or its CHECK constraints.
SELECT DISTINCT e.extname::text AS name
FROM pg_depend member
JOIN pg_extension e ON e.oid = member.refobjid
JOIN pg_depend used ON used.refclassid = member.classid AND used.refobjid = member.objid AND used.deptype = 'n'
LEFT JOIN pg_attrdef d ON used.classid = 'pg_attrdef'::regclass AND d.oid = used.objid
LEFT JOIN pg_constraint k ON used.classid = 'pg_constraint'::regclass AND k.oid = used.objid AND k.contype = 'c'
JOIN pg_class c ON c.oid = CASE used.classid WHEN 'pg_class'::regclass THEN used.objid
                                             ELSE coalesce(d.adrelid, k.conrelid) END
WHERE member.refclassid = 'pg_extension'::regclass AND member.deptype = 'e' AND c.relkind IN ('r', 'p')
ORDER BY 1
