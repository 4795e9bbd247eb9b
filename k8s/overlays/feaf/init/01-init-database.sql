-- Once, in the new database feaf. Tables, indexes and constraints are the backend's migrations.
CREATE EXTENSION IF NOT EXISTS "uuid-ossp";
CREATE EXTENSION IF NOT EXISTS pg_trgm;
ALTER DATABASE feaf SET timezone TO 'UTC';
