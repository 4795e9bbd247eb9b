# Once, in the new database: the role of the applications owns it. Its name and password come from the
# Secret that is mounted at APP_CREDENTIALS.
docker_process_sql <<'SQL'
\set name `cat "$APP_CREDENTIALS/username"`
\set password `cat "$APP_CREDENTIALS/password"`
CREATE ROLE :"name" LOGIN PASSWORD :'password';
ALTER DATABASE :"DBNAME" OWNER TO :"name";
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
SQL
