-- Blobs: content by its SHA-256, in chunks. A node that does not know it works on.
-- least: 2

-- A row is a blob, or one that is being uploaded, or was. It is found by id only once all
-- of its chunks are there.
CREATE TABLE {schema}.blobs (
  upload uuid NOT NULL PRIMARY KEY,
  id     bytea UNIQUE,                       -- SHA-256 of the content; NULL before its end
  size   bigint,                             -- in bytes
  puts   bigint NOT NULL DEFAULT 1,          -- changes with each put, so that a sweep notices one
  put    timestamptz NOT NULL DEFAULT clock_timestamp() -- the last
);

CREATE TABLE {schema}.blob_chunks (
  upload  uuid NOT NULL REFERENCES {schema}.blobs ON DELETE CASCADE,
  number  integer NOT NULL,                  -- from 0
  content bytea NOT NULL,                    -- 1 MiB, but for the last
  PRIMARY KEY (upload, number)
);
