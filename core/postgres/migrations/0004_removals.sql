-- Streams that are deleted, removed and tombstoned. A node that does not know them would
-- append to them, and read what was removed.
-- least: 4

-- 0 live, 1 deleted, 2 tombstoned.
ALTER TABLE {schema}.streams ADD COLUMN state smallint NOT NULL DEFAULT 0;

-- A row is a Commit that has changed streams as a whole. The last number is how many have.
CREATE TABLE {schema}.changes (
  number bigint NOT NULL PRIMARY KEY
);

-- The ids that streams had whose events were removed, until none of these is left. Nothing
-- reads the events, nor links to them.
CREATE TABLE {schema}.removed (
  stream bigint NOT NULL PRIMARY KEY
);

DROP FUNCTION {schema}.commit_group;

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
  -- What the state of each stream has to be; NULL for one of which it does not matter. No
  -- p_states: all have to be live.
  p_states       smallint[] DEFAULT NULL,
  -- What is done to each stream as a whole, as core numbers it; NULL for one to which
  -- nothing is.
  p_actions      smallint[] DEFAULT NULL,
  -- What the incarnation of each stream has to be; NULL for one of which it does not matter.
  -- No p_incarnations: any will do, for all.
  p_incarnations integer[] DEFAULT NULL,
  OUT o_written   boolean,
  OUT o_head      bigint,      -- before the first event
  OUT o_recorded  timestamptz,
  OUT o_waited    integer,     -- until the log row was locked, µs
  OUT o_versions  bigint[],    -- before; NULL for a stream that is not there
  OUT o_states    smallint[],  -- before; NULL for a stream that is not there. No o_states: all are
  OUT o_incarnations integer[], -- live and in their first incarnation
  OUT o_revisions bigint[],    -- before; 0 or NULL for a record that is not there
  OUT o_ids       uuid[],      -- those of the ids that are known, and their places
  OUT o_id_streams   text[],
  OUT o_id_versions  bigint[],
  OUT o_id_positions bigint[],
  OUT o_id_types     text[],
  OUT o_id_links     bigint[], -- the position of the event, of a link
  OUT o_epoch        bigint,   -- the log's, read after the facts, where nothing is written
  OUT o_changes      bigint    -- the log's, with those of the group, where it is locked to be written
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
  v_plain  boolean;
  v_writes boolean := p_id IS NOT NULL OR p_actions IS NOT NULL; -- not only records
  v_changes bigint;
  v_changed bigint[]; -- streams with an action
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
    SELECT array_agg(l.id), array_agg(l.version), bool_and(l.state = 0 AND l.incarnation = 1)
    INTO v_ids, v_floors, v_plain
    FROM (SELECT s.id, s.version, s.state, s.incarnation
          FROM unnest(p_names) WITH ORDINALITY n(name, ord)
          JOIN {schema}.streams s ON s.name = n.name
          ORDER BY n.ord
          FOR NO KEY UPDATE OF s) l;
    IF cardinality(v_ids) IS DISTINCT FROM cardinality(p_names) THEN
      SELECT array_agg(s.id ORDER BY n.ord), array_agg(s.version ORDER BY n.ord),
             bool_and(s.state = 0 AND s.incarnation = 1)
      INTO v_ids, v_floors, v_plain
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
    IF NOT v_plain THEN
      SELECT array_agg(s.state ORDER BY x.ord), array_agg(s.incarnation ORDER BY x.ord) INTO o_states, o_incarnations
      FROM unnest(v_ids) WITH ORDINALITY x(id, ord)
      LEFT JOIN {schema}.streams s ON s.id = x.id;
    END IF;
    IF p_states IS NOT NULL THEN
      o_written := o_written AND NOT EXISTS (
        SELECT FROM (SELECT unnest(o_states) AS state, unnest(p_states) AS want) x WHERE coalesce(x.state, 0) <> x.want);
    ELSIF o_states IS NOT NULL THEN
      o_written := o_written AND NOT coalesce(0 <> ANY (o_states), false);
    END IF;
    IF p_incarnations IS NOT NULL THEN
      o_written := o_written AND NOT EXISTS (
        SELECT FROM (SELECT unnest(o_incarnations) AS incarnation, unnest(p_incarnations) AS want) x
        WHERE coalesce(x.incarnation, 1) <> x.want);
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
    JOIN {schema}.streams s ON s.id = e.stream -- what was removed is of none
    WHERE e.link IS NULL OR EXISTS (
      SELECT FROM {schema}.events h JOIN {schema}.streams t ON t.id = h.stream WHERE h.position = e.link);
    o_written := o_written AND NOT coalesce(v_look AND o_ids && p_id, false);
    IF v_look AND o_written AND EXISTS (SELECT FROM {schema}.removed) THEN
      -- What was removed keeps no id from being used again.
      UPDATE {schema}.events e SET id = gen_random_uuid() FROM unnest(p_id) n(id)
      WHERE e.id = n.id AND (EXISTS (SELECT FROM {schema}.removed r WHERE r.stream = e.stream)
        OR e.link IS NOT NULL AND NOT EXISTS (
          SELECT FROM {schema}.events h JOIN {schema}.streams t ON t.id = h.stream WHERE h.position = e.link));
    END IF;
  END IF;

  -- What is linked has to be there, not in the stream already as its own event, and not in
  -- a stream that is changed as a whole.
  IF p_link IS NOT NULL AND o_written THEN
    v_changes := coalesce((SELECT c.number FROM {schema}.changes c ORDER BY c.number DESC LIMIT 1), 0);
    IF p_actions IS NOT NULL THEN
      SELECT array_agg(x.id) INTO v_changed
      FROM (SELECT unnest(v_ids) AS id, unnest(p_actions) AS action) x WHERE x.action IS NOT NULL;
    END IF;
    SELECT array_agg(e.position ORDER BY x.n), array_agg(e.type ORDER BY x.n),
           bool_and(x.id IS NULL OR x.nth IS NOT NULL OR coalesce(s.id <> v_ids[x.stream] AND s.id <> ALL (coalesce(v_changed, '{}')), false))
    INTO v_links, v_types, o_written
    FROM (SELECT generate_series(1, v_count) AS n, unnest(p_link) AS id, unnest(p_nth) AS nth,
                 unnest(p_stream) AS stream) x
    LEFT JOIN {schema}.events e ON e.id = x.id AND e.link IS NULL
    LEFT JOIN {schema}.streams s ON s.id = e.stream;
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

  -- A stream that is removed keeps its row, which is its lock, and gets another id. Nothing
  -- finds the events of the former one.
  IF p_actions IS NOT NULL THEN
    INSERT INTO {schema}.removed (stream)
    SELECT x.id FROM (SELECT unnest(v_ids) AS id, unnest(p_actions) AS action) x WHERE x.action IN (2, 3);
    UPDATE {schema}.streams s
    SET id = DEFAULT, incarnation = s.incarnation + 1, version = 0, state = CASE x.action WHEN 3 THEN 2 ELSE 0 END
    FROM (SELECT unnest(v_ids) AS id, unnest(p_actions) AS action) x
    WHERE s.id = x.id AND x.action IN (2, 3);
    UPDATE {schema}.streams s
    SET state = 1 - x.action
    FROM (SELECT unnest(v_ids) AS id, unnest(p_actions) AS action) x
    WHERE s.id = x.id AND x.action IN (0, 1);
  END IF;

  -- 4. The log row. From here to the end of the transaction nobody else gives
  -- positions; who changes the epoch waits for us, or we for them.
  IF v_writes THEN
    PERFORM FROM {schema}.log l WHERE l.epoch = p_epoch FOR NO KEY UPDATE;
  ELSE
    PERFORM FROM {schema}.log l WHERE l.epoch = p_epoch FOR KEY SHARE;
  END IF;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'epoch % is over', p_epoch USING ERRCODE = 'GY001';
  END IF;
  IF NOT v_writes THEN
    RETURN;
  END IF;
  o_waited := extract(epoch FROM clock_timestamp() - statement_timestamp()) * 1000000;
  SELECT greatest(l.head, e.position), greatest(l.recorded, e.recorded, clock_timestamp()),
         coalesce((SELECT c.number FROM {schema}.changes c ORDER BY c.number DESC LIMIT 1), 0)
  INTO o_head, o_recorded, o_changes
  FROM {schema}.log l
  LEFT JOIN LATERAL (
    SELECT e.position, e.recorded FROM {schema}.events e ORDER BY e.position DESC LIMIT 1) e ON true;

  IF v_changes <> o_changes THEN
    RAISE EXCEPTION 'what is linked may have been removed' USING ERRCODE = 'GY003';
  END IF;
  IF p_actions IS NOT NULL THEN
    o_changes := o_changes + 1;
    INSERT INTO {schema}.changes (number) VALUES (o_changes);
  END IF;
  IF v_count IS NULL THEN
    -- The floors keep the place and the time of what is removed from being given again. Where
    -- the group writes events, these do.
    UPDATE {schema}.log l SET head = o_head, recorded = o_recorded;
    RETURN;
  END IF;

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

-- raise_floors keeps the versions of rows that are about to be deleted from being given again:
-- those that are the last of their streams leave their versions behind as these'. It locks the
-- streams in the order of their names. Its settings are its caller's.
CREATE FUNCTION {schema}.raise_floors(p_positions bigint[]) RETURNS void LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  v_streams bigint[]; -- that lose their last row
  v_ends    bigint[]; -- its version
BEGIN
  SELECT array_agg(x.stream), array_agg(x.version) INTO v_streams, v_ends
  FROM (SELECT e.stream, max(e.version) AS version FROM {schema}.events e
        WHERE e.position = ANY (p_positions) GROUP BY e.stream) x
  WHERE NOT EXISTS (SELECT FROM {schema}.events l WHERE l.stream = x.stream AND l.version > x.version);
  PERFORM FROM {schema}.streams s WHERE s.id = ANY (v_streams) ORDER BY s.name FOR NO KEY UPDATE;
  UPDATE {schema}.streams s SET version = x.version
  FROM (SELECT unnest(v_streams) AS id, unnest(v_ends) AS version) x
  WHERE s.id = x.id AND s.version < x.version;
END
$$;

-- remove_some removes some of what removed streams have left, and of the links to that, unless
-- another transaction does so just now. It is called until it returns no stream. p_stream and
-- p_after are what the last call returned that was committed: a place to go on from, so that it
-- does not pass over what is gone. A stream has nothing left if a walk from its beginning finds
-- all that there is, since a fail-over may bring rows before the place back.
CREATE FUNCTION {schema}.remove_some(
  p_stream bigint,
  p_after  bigint,
  p_limit  integer,
  OUT o_stream bigint,
  OUT o_after  bigint
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
  v_left   integer := p_limit;
  v_last   bigint := 0; -- the last stream of which nothing is left
  v_events bigint[];
  v_count  integer;
  v_end    bigint;
  v_links  bigint[];
BEGIN
  WHILE v_left > 0 LOOP
    SELECT r.stream INTO o_stream FROM {schema}.removed r
    WHERE r.stream > v_last ORDER BY r.stream LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF o_stream IS NULL THEN
      SELECT r.stream, CASE WHEN r.stream = p_stream THEN p_after ELSE 0 END INTO o_stream, o_after
      FROM {schema}.removed r ORDER BY r.stream LIMIT 1;
      RETURN;
    END IF;
    o_after := CASE WHEN o_stream = p_stream THEN p_after ELSE 0 END;
    SELECT array_agg(x.position), count(*), max(x.version) INTO v_events, v_count, v_end
    FROM (SELECT e.position, e.version FROM {schema}.events e
          WHERE e.stream = o_stream AND e.version > o_after ORDER BY e.version LIMIT v_left) x;

    -- Links go before their events. They may be many more.
    SELECT array_agg(x.position) INTO v_links
    FROM (SELECT e.position FROM {schema}.events e
          WHERE e.link = ANY (v_events) AND e.link IS NOT NULL LIMIT p_limit) x;
    IF v_links IS NOT NULL THEN
      PERFORM {schema}.raise_floors(v_links);
      DELETE FROM {schema}.events e WHERE e.position = ANY (v_links);
      IF cardinality(v_links) = p_limit THEN
        RETURN;
      END IF;
    END IF;

    DELETE FROM {schema}.events e WHERE e.position = ANY (v_events);
    IF v_count = v_left THEN
      o_after := v_end;
      RETURN;
    ELSIF o_after > 0 THEN
      o_after := 0;
      RETURN;
    END IF;
    DELETE FROM {schema}.removed r WHERE r.stream = o_stream;
    IF v_links IS NOT NULL THEN
      RETURN; -- streams are locked in the order of their names, so no others after these
    END IF;
    v_last := o_stream;
    v_left := v_left - v_count - 1;
  END LOOP;
END
$$;
