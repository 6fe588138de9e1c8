"""Prisma: its history table read by us, every write to it made by Prisma's own command line.

url.py       the address of a database as Prisma wants it, and how to keep its password out of sight
node.py      which Node.js and npm
project.py   the user's Prisma project: where its parts are, and what is installed
cli.py       drives the real command line of that project
history.py   `_prisma_migrations` against the migrations folder; reads only
schema-engine.cjs   stands in for Prisma's native engine where that is not installed
"""
