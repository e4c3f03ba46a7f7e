-- A ring: the sessions of its nodes, and its views. A node that does not know it would
-- share a store that belongs to a ring.
-- least: 2

-- The server's WAL timeline when a view last moved the epoch. After a fail-over it is
-- another one, and epochs that this server never had may be known to nodes.
ALTER TABLE {schema}.log ADD COLUMN wal integer NOT NULL DEFAULT 0;

-- The name of the ring that the node is in; '': of none, so that it has the store alone; NULL:
-- it only reads.
ALTER TABLE {schema}.sessions ADD COLUMN ring text;

-- The sessions of a ring that have not ended. A node beats by counting; no clock says when
-- a session has ended, but other nodes by a view, or a newer session of the same node.
-- Numbers are never given again, also if a fail-over loses some: they end in chance.
CREATE TABLE {schema}.ring_sessions (
  nth      bigint GENERATED ALWAYS AS IDENTITY,
  chance   integer NOT NULL DEFAULT floor(random() * 1048576),
  number   bigint NOT NULL PRIMARY KEY GENERATED ALWAYS AS (nth * 1048576 + chance) STORED,
  ring     text NOT NULL,                    -- its name
  node     text NOT NULL UNIQUE,             -- its id
  member   jsonb NOT NULL,                   -- what others know it by, but for the number
  secret   bytea NOT NULL,
  opened   uuid NOT NULL,                    -- the node's row of sessions
  beats    bigint NOT NULL DEFAULT 0,
  released bigint NOT NULL DEFAULT 0,        -- the epoch up to which it let go of what it lost
  draining boolean NOT NULL DEFAULT false
);

-- The views of the ring. The transaction that makes one moves the log's epoch to it first.
CREATE TABLE {schema}.views (
  epoch    bigint NOT NULL PRIMARY KEY,
  members  jsonb NOT NULL,
  quorum   integer NOT NULL,
  proposer bigint NOT NULL,                  -- a session
  reason   text NOT NULL,
  at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
