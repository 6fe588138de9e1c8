"""What a person would otherwise write by hand: an idempotent baseline out of migrations, and phases."""
