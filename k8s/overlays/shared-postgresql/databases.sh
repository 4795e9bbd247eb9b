#!/bin/bash
# A role and a database of its own for each tool; to be run as often as one likes, also to set the
# passwords anew. ROLES: directory with a file per role that holds its password.
#
# The limit is that of the tool's pool, so that none can take the connections of the others.
set -eu
while read -r role connections; do
    [ -s "$ROLES/$role" ] || { echo "no password in $ROLES/$role" >&2; exit 1; }
    # Not in an argument, which others can see.
    password=$(cat "$ROLES/$role")
    export password
    psql -XqtA -v ON_ERROR_STOP=1 -v role="$role" -v connections="$connections" -d postgres <<'SQL'
\getenv password password
SELECT format('CREATE ROLE %I', :'role')
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
ALTER ROLE :"role" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION
    CONNECTION LIMIT :connections PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER %I', :'role', :'role')
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'role') \gexec
REVOKE ALL ON DATABASE :"role" FROM PUBLIC;
SQL
    echo "$role: role and database are there"
done <<'END'
backstage 15
sonarqube 20
argo_workflows 10
policyreporter 5
grafana 10
dex 5
END
