#!/bin/sh
# Makes the database of the page's shared groups, once, when the local stack's database is made.
set -eu
run() { psql -v ON_ERROR_STOP=1 -q -U "${POSTGRES_USER:-postgres}" -d "$1" -f "$2"; }
echo 'create database groups' | run "${POSTGRES_DB:-postgres}" -
run groups /groups/schema.sql
run groups /groups/roles.sql
