-- A store: one log with its streams, events and records in one schema.
--
-- The schema's name stands in braces here, and is replaced. A migration's first line
-- of the form "-- least: N" says which version a node has to know to work with the
-- schema after it; without one it is the migration's own.
-- least: 1

-- One row. It is the sequencer, by its lock, and the fence, by its epoch. epoch is
-- the key, so that changing it takes the one lock that nothing shares.
CREATE TABLE {schema}.log (
  epoch    bigint NOT NULL PRIMARY KEY,
  id       text NOT NULL,                    -- the log's identity
  timeline text NOT NULL DEFAULT '',         -- the newest of timelines
  head     bigint NOT NULL DEFAULT 0,        -- positions up to here are not given again
  recorded timestamptz NOT NULL DEFAULT '-infinity', -- nothing is recorded before it
  one      boolean NOT NULL DEFAULT true UNIQUE CHECK (one)
);
INSERT INTO {schema}.log (epoch, id)
  VALUES (1, left(translate(gen_random_uuid()::text, '-', ''), 12));

-- A timeline begins when a node opens a store that no other has open. Cursors have the
-- name of one: what the log had in it ends where the next one began, which is how the
-- places of a tail are told apart that a restore has lost.
CREATE TABLE {schema}.timelines (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name   text NOT NULL,
  after  bigint NOT NULL                     -- the head when it began
);

-- A row is one incarnation of a stream, and the lock of everything about it. Its version
-- is that of its last event: the column only says which ones are not given again
-- when events were removed.
CREATE TABLE {schema}.streams (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name        text COLLATE "C" NOT NULL UNIQUE,
  incarnation integer NOT NULL DEFAULT 1,
  version     bigint NOT NULL DEFAULT 0
);

-- The log. Nothing in it is ever updated. A link is a row, too: it has the type of the
-- event and none of the rest, which is read through link. Its id is made of its stream
-- and its event, so that the key on ids keeps an event from being linked into one
-- stream twice.
CREATE TABLE {schema}.events (
  position     bigint NOT NULL PRIMARY KEY,
  stream       bigint NOT NULL,
  version      bigint NOT NULL,
  recorded     timestamptz NOT NULL,
  time         timestamptz,                  -- where it is not the recorded one
  id           uuid NOT NULL,
  format       smallint NOT NULL,            -- 0 JSON, 1 anything else
  type         text NOT NULL,
  content_type text,                         -- where the format does not say it
  metadata     bytea,                        -- a JSON object, as it was sent
  correlation  text COLLATE "C",             -- correlation_id in it
  data         bytea NOT NULL,
  link         bigint                        -- the position of the event that it is a link to
);
CREATE UNIQUE INDEX events_stream_version ON {schema}.events (stream, version);
CREATE UNIQUE INDEX events_id ON {schema}.events (id);

-- Records. Revision 0 is a row that is locked to be written: no other transaction
-- ever sees one.
CREATE TABLE {schema}.records (
  tbl      text COLLATE "C" NOT NULL,
  key      bytea NOT NULL,
  revision bigint NOT NULL DEFAULT 0,
  value    bytea NOT NULL DEFAULT '',
  PRIMARY KEY (tbl, key)
);

-- commit_group writes a group of Commits or nothing, and tells what it found.
-- COMMIT.md explains it. Its settings make every plan the one it was written for,
-- whatever the tables' statistics say at the moment.
CREATE FUNCTION {schema}.commit_group(
  p_epoch        bigint,
  -- Answer the facts about streams, records and p_others, keep their locks and write
  -- nothing.
  p_probe        boolean,
  -- Make the rows of p_need that are missing. A transaction that has locks does not:
  -- whoever makes rows waits for others that do.
  p_make         boolean,
  -- Streams, in the order of their names. p_fresh are those that may have to be
  -- made; p_low and p_high bound the versions, and NULL in p_low marks a stream
  -- whose version is only to be told. No p_low: any version will do, for all.
  p_names        text[],
  p_fresh        text[],
  p_low          bigint[],
  p_high         bigint[],
  -- Records, in the order of their tables and keys. p_need are those whose row has to
  -- be there to be locked. p_runs are the ends of runs of records with one
  -- kind of lock: exclusive, then shared, then exclusive again, and so on.
  p_tables       text[],
  p_keys         bytea[],
  p_need         boolean[],
  p_runs         integer[],
  -- Bounds of their revisions. A record ends at p_add puts after its revision, or
  -- after 0 where p_reset.
  p_revision_low bigint[],
  p_revision_high bigint[],
  p_reset        boolean[],
  p_add          bigint[],
  p_values       bytea[],
  -- Ids. p_look: look up those of the events before writing. p_others are looked
  -- up in any case.
  p_look         boolean,
  p_others       uuid[],
  -- Events, in order: the number of the stream in p_names, how many versions after
  -- its present one, and what was sent.
  p_stream       integer[],
  p_offset       integer[],
  p_id           uuid[],
  p_time         timestamptz[],
  p_format       smallint[],
  p_type         text[],
  p_content_type text[],
  p_metadata     bytea[],
  p_correlation  text[],
  p_data         bytea[],
  -- Links: the id of the event, and where the group writes that itself, its number in
  -- the group. A link's p_id is its own and its p_data empty.
  p_link         uuid[],
  p_nth          integer[],
  OUT o_written   boolean,
  OUT o_head      bigint,      -- before the first event
  OUT o_recorded  timestamptz,
  OUT o_waited    integer,     -- until the log row was locked, µs
  OUT o_versions  bigint[],    -- before; NULL for a stream that is not there
  OUT o_revisions bigint[],    -- before; 0 or NULL for a record that is not there
  OUT o_ids       uuid[],      -- those of the ids that are known, and their places
  OUT o_id_streams   text[],
  OUT o_id_versions  bigint[],
  OUT o_id_positions bigint[],
  OUT o_id_types     text[],
  OUT o_id_links     bigint[], -- the position of the event, of a link
  OUT o_epoch        bigint    -- the log's, read after the facts, where nothing is written
) LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET enable_bitmapscan = off
SET enable_material = off
SET jit = off
SET lock_timeout = '500ms'
AS $$
DECLARE
  v_made   bigint[];
  v_ids    bigint[];
  v_floors bigint[];
  v_count  integer := cardinality(p_id);
  v_look   boolean := p_look;
  v_links  bigint[];
  v_types  text[];
  v_found  bigint[];  -- the numbers of the records that are there
  v_all    bigint[];
  v_shared boolean := false;
  v_last   integer := 0;
  v_end    integer;
BEGIN
  o_written := true;

  -- 1. What is not there yet is made, before anything is locked.
  IF p_fresh IS NOT NULL THEN
    WITH made AS (
      INSERT INTO {schema}.streams (name)
      SELECT f.name FROM unnest(p_fresh) f(name)
      WHERE NOT EXISTS (SELECT FROM {schema}.streams s WHERE s.name = f.name)
      ORDER BY f.name COLLATE "C"
      ON CONFLICT (name) DO NOTHING
      RETURNING id)
    SELECT array_agg(made.id) INTO v_made FROM made;
  END IF;
  IF p_make AND p_tables IS NOT NULL THEN
    INSERT INTO {schema}.records (tbl, key)
    SELECT x.tbl, x.key
    FROM (SELECT unnest(p_tables) COLLATE "C" AS tbl, unnest(p_keys) AS key, unnest(p_need) AS need) x
    WHERE x.need AND NOT EXISTS (SELECT FROM {schema}.records r WHERE r.tbl = x.tbl AND r.key = x.key)
    ORDER BY x.tbl, x.key
    ON CONFLICT (tbl, key) DO NOTHING;
  END IF;

  -- 2. Streams are locked, in the order of their names. The next statement sees
  -- all that the former holders of the locks have written.
  IF p_names IS NOT NULL THEN
    SELECT array_agg(l.id), array_agg(l.version) INTO v_ids, v_floors
    FROM (SELECT s.id, s.version
          FROM unnest(p_names) WITH ORDINALITY n(name, ord)
          JOIN {schema}.streams s ON s.name = n.name
          ORDER BY n.ord
          FOR NO KEY UPDATE OF s) l;
    IF cardinality(v_ids) IS DISTINCT FROM cardinality(p_names) THEN
      SELECT array_agg(s.id ORDER BY n.ord), array_agg(s.version ORDER BY n.ord) INTO v_ids, v_floors
      FROM unnest(p_names) WITH ORDINALITY n(name, ord)
      LEFT JOIN {schema}.streams s ON s.name = n.name AND s.id = ANY (v_ids);
      o_written := p_low IS NOT NULL;
    END IF;
    SELECT array_agg(greatest(x.floor, (
        SELECT e.version FROM {schema}.events e WHERE e.stream = x.id ORDER BY e.version DESC LIMIT 1)))
    INTO o_versions
    FROM (SELECT unnest(v_ids) AS id, unnest(v_floors) AS floor) x;
    IF p_low IS NOT NULL THEN
      o_written := NOT EXISTS (
        SELECT FROM (SELECT unnest(o_versions) AS version, unnest(p_low) AS low, unnest(p_high) AS high) x
        WHERE x.low IS NOT NULL AND (x.version BETWEEN x.low AND x.high) IS NOT TRUE);
    END IF;
  END IF;

  -- 3. Records, in the order of their tables and keys, whichever lock each gets.
  IF p_tables IS NOT NULL THEN
    FOREACH v_end IN ARRAY p_runs LOOP
      IF v_shared THEN
        SELECT v_found || array_agg(l.ord), o_revisions || array_agg(l.revision) INTO v_found, o_revisions
        FROM (SELECT v_last + n.ord AS ord, r.revision
              FROM unnest(p_tables[v_last + 1:v_end], p_keys[v_last + 1:v_end]) WITH ORDINALITY n(tbl, key, ord)
              JOIN {schema}.records r ON r.tbl = n.tbl AND r.key = n.key
              ORDER BY n.ord
              FOR SHARE OF r) l;
      ELSIF v_end > v_last THEN
        SELECT v_found || array_agg(l.ord), o_revisions || array_agg(l.revision) INTO v_found, o_revisions
        FROM (SELECT v_last + n.ord AS ord, r.revision
              FROM unnest(p_tables[v_last + 1:v_end], p_keys[v_last + 1:v_end]) WITH ORDINALITY n(tbl, key, ord)
              JOIN {schema}.records r ON r.tbl = n.tbl AND r.key = n.key
              ORDER BY n.ord
              FOR NO KEY UPDATE OF r) l;
      END IF;
      v_shared := NOT v_shared;
      v_last := v_end;
    END LOOP;
    IF cardinality(v_found) IS DISTINCT FROM cardinality(p_tables) THEN
      -- A record that is not there is at revision 0. A row that is needed was deleted
      -- since step 1: NULL, which is within no bounds.
      FOR i IN 1 .. cardinality(p_tables) LOOP
        v_all[i] := CASE WHEN NOT p_need[i] THEN 0 END;
      END LOOP;
      FOR i IN 1 .. coalesce(cardinality(v_found), 0) LOOP
        v_all[v_found[i]] := o_revisions[i];
      END LOOP;
      o_revisions := v_all;
    END IF;
    IF p_revision_low IS NOT NULL THEN
      o_written := o_written AND NOT EXISTS (
        SELECT FROM (SELECT unnest(o_revisions) AS revision,
                            unnest(p_revision_low) AS low, unnest(p_revision_high) AS high) x
        WHERE (x.revision BETWEEN x.low AND x.high) IS NOT TRUE);
    END IF;
  END IF;

  -- Ids are looked up where they may matter: where they have been met before, and
  -- where an expectation does not hold.
  IF v_look OR NOT o_written OR p_others IS NOT NULL THEN
    SELECT array_agg(e.id), array_agg(s.name), array_agg(e.version), array_agg(e.position),
           array_agg(e.type), array_agg(e.link)
    INTO o_ids, o_id_streams, o_id_versions, o_id_positions, o_id_types, o_id_links
    FROM unnest(CASE WHEN v_look OR NOT o_written THEN p_id || p_others ELSE p_others END) n(id)
    JOIN {schema}.events e ON e.id = n.id
    JOIN {schema}.streams s ON s.id = e.stream;
    o_written := o_written AND NOT coalesce(v_look AND o_ids && p_id, false);
  END IF;

  -- What is linked has to be there, and not in the stream already as its own event.
  IF p_link IS NOT NULL AND o_written THEN
    SELECT array_agg(e.position ORDER BY x.n), array_agg(e.type ORDER BY x.n),
           bool_and(x.id IS NULL OR x.nth IS NOT NULL OR coalesce(e.stream <> v_ids[x.stream], false))
    INTO v_links, v_types, o_written
    FROM (SELECT generate_series(1, v_count) AS n, unnest(p_link) AS id, unnest(p_nth) AS nth,
                 unnest(p_stream) AS stream) x
    LEFT JOIN {schema}.events e ON e.id = x.id AND e.link IS NULL;
  END IF;

  -- A refusal may rest on these facts only if the epoch was still p_epoch after they
  -- were read.
  IF p_probe OR NOT o_written THEN
    o_written := false;
    SELECT l.epoch INTO o_epoch FROM {schema}.log l;
    IF NOT p_probe THEN
      DELETE FROM {schema}.streams s WHERE s.id = ANY (v_made);
      DELETE FROM {schema}.records r USING unnest(p_tables, p_keys) n(tbl, key)
      WHERE r.tbl = n.tbl AND r.key = n.key AND r.revision = 0;
    END IF;
    RETURN;
  END IF;

  IF p_tables IS NOT NULL THEN
    UPDATE {schema}.records r
    SET revision = CASE WHEN x.reset THEN 0 ELSE r.revision END + x.add, value = x.value
    FROM (SELECT unnest(p_tables) AS tbl, unnest(p_keys) AS key, unnest(p_reset) AS reset,
                 unnest(p_add) AS add, unnest(p_values) AS value) x
    WHERE r.tbl = x.tbl AND r.key = x.key AND x.add > 0;
    IF 0 = ANY (p_add) THEN
      DELETE FROM {schema}.records r
      USING (SELECT unnest(p_tables) AS tbl, unnest(p_keys) AS key, unnest(p_reset) AS reset, unnest(p_add) AS add) x
      WHERE r.tbl = x.tbl AND r.key = x.key AND x.add = 0 AND (x.reset OR r.revision = 0);
    END IF;
  END IF;

  -- 4. The log row. From here to the end of the transaction nobody else gives
  -- positions; who changes the epoch waits for us, or we for them.
  IF v_count IS NULL THEN
    PERFORM FROM {schema}.log l WHERE l.epoch = p_epoch FOR KEY SHARE;
  ELSE
    PERFORM FROM {schema}.log l WHERE l.epoch = p_epoch FOR NO KEY UPDATE;
  END IF;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'epoch % is over', p_epoch USING ERRCODE = 'GY001';
  END IF;
  IF v_count IS NULL THEN
    RETURN;
  END IF;
  o_waited := extract(epoch FROM clock_timestamp() - statement_timestamp()) * 1000000;
  SELECT greatest(l.head, e.position), greatest(l.recorded, e.recorded, clock_timestamp())
  INTO o_head, o_recorded
  FROM {schema}.log l
  LEFT JOIN LATERAL (
    SELECT e.position, e.recorded FROM {schema}.events e ORDER BY e.position DESC LIMIT 1) e ON true;

  -- 5. The events.
  INSERT INTO {schema}.events
    (position, stream, version, recorded, time, id, format, type, content_type, metadata, correlation, data, link)
  SELECT o_head + x.n, v_ids[x.stream], o_versions[x.stream] + x.off, o_recorded,
         x.time, x.id, x.format, coalesce(v_types[x.n], x.type), x.content_type, x.metadata, x.correlation, x.data,
         coalesce(v_links[x.n], o_head + x.nth)
  FROM (SELECT generate_series(1, v_count) AS n, unnest(p_stream) AS stream, unnest(p_offset) AS off,
               unnest(p_time) AS time, unnest(p_id) AS id, unnest(p_format) AS format, unnest(p_type) AS type,
               unnest(p_content_type) AS content_type, unnest(p_metadata) AS metadata,
               unnest(p_correlation) AS correlation, unnest(p_data) AS data, unnest(p_nth) AS nth) x;
END
$$;

-- What people who query with SQL see: each event once, at home.
CREATE FUNCTION {schema}.json_or_null(p bytea) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
  RETURN convert_from(p, 'UTF8')::jsonb;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
  RETURN NULL; -- a zero character or a number that jsonb cannot hold
END
$$;

CREATE VIEW {schema}.events_json AS
SELECT e.position, s.name AS stream, e.version, e.id, e.type,
       coalesce(e.time, e.recorded) AS time,
       CASE WHEN e.format = 0 THEN {schema}.json_or_null(e.data) END AS data,
       {schema}.json_or_null(e.metadata) AS metadata,
       e.correlation AS correlation_id,
       {schema}.json_or_null(e.metadata) ->> 'causation_id' AS causation_id
FROM {schema}.events e
JOIN {schema}.streams s ON s.id = e.stream
WHERE e.link IS NULL;

-- The sessions of nodes that have the store open. Nothing is taken away while one that
-- does not know it is among them. A node puts off the end of its session again and again;
-- the server's clock alone says whether it has come.
CREATE TABLE {schema}.sessions (
  id      uuid NOT NULL PRIMARY KEY,
  name    text NOT NULL,                     -- of the node
  version text NOT NULL,                     -- of the program
  knows   integer NOT NULL,                  -- the newest migration that the node knows
  since   timestamptz NOT NULL DEFAULT clock_timestamp(),
  until   timestamptz NOT NULL,              -- it has ended by then
  -- The database and this table, so that a session that was restored from a dump does not
  -- count, and the start of the server: after a restart it counts once it beats again.
  place   text NOT NULL,
  started timestamptz NOT NULL DEFAULT pg_postmaster_start_time()
);

-- refuse_older_nodes is what a migration begins with after which a node has to know
-- more than before. Whoever calls it has the lock of migrations, without which no node
-- comes in. Sessions that have ended are taken out: a node that was only asleep finds that out,
-- begins another one, and is told that it is too old.
CREATE FUNCTION {schema}.refuse_older_nodes(p_least integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_older text;
BEGIN
  DELETE FROM {schema}.sessions n WHERE n.until < clock_timestamp();
  SELECT string_agg(format('%s (gyre %s, knows %s)', n.name, n.version, n.knows), ', ' ORDER BY n.name)
  INTO v_older FROM {schema}.sessions n WHERE n.knows < p_least;
  IF v_older IS NOT NULL THEN
    RAISE EXCEPTION 'the migration needs nodes that know %, and older ones have the store open: %', p_least, v_older
      USING ERRCODE = 'GY002';
  END IF;
END
$$;
