#!/bin/sh
# Gives the roles of roles.sql the passwords of the environment, once, when the local stack's database is made. The server is
# the stack's alone, so that nobody needs its other databases.
set -eu
psql -v ON_ERROR_STOP=1 -q -U "${POSTGRES_USER:-postgres}" -d "${POSTGRES_DB:-postgres}" \
	-v setup="$LETHE_SETUP_PASSWORD" -v worker="$LETHE_WORKER_PASSWORD" \
	-v operator="$LETHE_OPERATOR_PASSWORD" -v gateway="$CHAT_GATEWAY_PASSWORD" <<'SQL'
alter role lethe_setup password :'setup';
alter role lethe_worker password :'worker';
alter role lethe_operator password :'operator';
alter role chat_gateway password :'gateway';
revoke connect on database postgres, template1 from public;
SQL
