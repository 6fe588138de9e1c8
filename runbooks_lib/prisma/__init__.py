"""Prisma: its history table read by us, every write to it made by Prisma's own command line.

url.py       the address of a database as Prisma wants it, and how to keep its password out of sight
configuration.py   what a project's configuration says, read by Prisma itself (read-configuration.cjs,
             observing-engine.cjs): schema, migrations, in which PostgreSQL schema `_prisma_migrations` stands
named.py     which project is meant
project.py   the user's Prisma project: where its parts are, and what is installed
command.py   drives the real command line of that project, with a configuration of ours
engine.py    which engine that starts, and the packages of our stand-in, for Prisma 6 and 7
many.py      several migrations recorded by one start of it (repeating-engine.cjs)
output.py    what that command line said, and what of it can be compared
history.py   `_prisma_migrations` against the migrations folder; reads only
oddities.py  rows that Prisma does not write, files that say nothing, what stands under the table's name
schema-engine.cjs   stands in for Prisma's native engine where that is not installed; refuses strangers

In which schema is `_prisma_migrations`? In that of the address: the `schema` parameter of the project's own URL, from
the operator's environment, else from its .env file or its configuration; public without one. Nothing else of that URL
is used, and it is never handed to the project's code.
"""
