-- Once, in the new database evolution. The tables are the gateway's migrations.
-- Sessions are encrypted by pgcrypto.
CREATE EXTENSION IF NOT EXISTS pgcrypto;
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
