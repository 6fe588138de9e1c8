"""SQL scripts, as PostgreSQL's own parser reads them: what they are, call and set off."""
