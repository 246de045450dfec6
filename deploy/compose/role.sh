#!/bin/sh
# The first start of PostgreSQL runs this: Safelight's own database, and a role that may do nothing else.
set -eu
psql --set=ON_ERROR_STOP=1 --username=postgres --set=password="$SAFELIGHT_DATABASE_PASSWORD" <<'SQL'
CREATE ROLE safelight LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
CREATE DATABASE safelight OWNER safelight;
REVOKE CONNECT ON DATABASE safelight FROM PUBLIC;
SQL
