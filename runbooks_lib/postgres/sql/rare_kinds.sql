-- Is there anything of the kinds that most databases have nothing of? One row, a column for each query.
SELECT EXISTS (SELECT FROM pg_trigger WHERE NOT tgisinternal OR tgenabled <> 'O') OR EXISTS (SELECT FROM pg_policy)
       OR EXISTS (SELECT FROM pg_rewrite WHERE oid >= 16384 AND rulename <> '_RETURN') OR EXISTS (SELECT FROM pg_inherits)
       OR EXISTS (SELECT FROM pg_constraint WHERE contype = 'n' AND contypid > 0)
       OR EXISTS (SELECT FROM pg_attribute WHERE attstattarget >= 0) AS attached,
       EXISTS (SELECT FROM pg_aggregate WHERE aggfnoid >= 16384)
       OR EXISTS (SELECT FROM pg_type WHERE oid >= 16384 AND (NOT typisdefined OR typtype = 'b' AND typarray <> 0))
       OR EXISTS (SELECT FROM pg_operator WHERE oid >= 16384) OR EXISTS (SELECT FROM pg_opfamily WHERE oid >= 16384)
       OR EXISTS (SELECT FROM pg_opclass WHERE oid >= 16384) OR EXISTS (SELECT FROM pg_am WHERE oid >= 16384)
       OR EXISTS (SELECT FROM pg_cast WHERE oid >= 16384) OR EXISTS (SELECT FROM pg_conversion WHERE oid >= 16384)
       OR EXISTS (SELECT FROM pg_collation WHERE oid >= 16384) OR EXISTS (SELECT FROM pg_transform WHERE oid >= 16384)
       OR EXISTS (SELECT FROM pg_language WHERE oid >= 16384) AS languages_and_types,
       EXISTS (SELECT FROM pg_ts_config WHERE oid >= 16384) OR EXISTS (SELECT FROM pg_ts_dict WHERE oid >= 16384)
       OR EXISTS (SELECT FROM pg_ts_parser WHERE oid >= 16384)
       OR EXISTS (SELECT FROM pg_ts_template WHERE oid >= 16384) AS text_search,
       EXISTS (SELECT FROM pg_foreign_data_wrapper) OR EXISTS (SELECT FROM pg_event_trigger)
       OR EXISTS (SELECT FROM pg_publication) OR EXISTS (SELECT oid FROM pg_subscription)
       OR EXISTS (SELECT FROM pg_statistic_ext) AS foreign_and_published
