# shellcheck shell=bash
# Once, in the new database: the role of the applications owns it. Its name and password come from the
# Secret that is mounted at APP_CREDENTIALS.
app_name=$(cat "$APP_CREDENTIALS/username")
app_password=$(cat "$APP_CREDENTIALS/password")
[ -n "$app_name" ]
[ -n "$app_password" ]
export app_name app_password
docker_process_sql <<'SQL'
\getenv name app_name
\getenv password app_password
CREATE ROLE :"name" LOGIN PASSWORD :'password';
ALTER DATABASE :"DBNAME" OWNER TO :"name";
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
SQL
