-- Once, in the new database. The type vector and the indexes HNSW and IVFFlat.
CREATE EXTENSION IF NOT EXISTS vector;
