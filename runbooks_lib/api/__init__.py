"""The services around the database: their HTTP routes, their Deployments and their source."""
