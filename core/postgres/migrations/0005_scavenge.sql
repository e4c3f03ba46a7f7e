-- What a scavenge looks at, and what it deletes. Nodes that do not know it are not in its way.
-- least: 4

-- scavenge_look returns the next rows of events up to p_last, with what decides about them. Rows
-- of removed streams, whose name is NULL, go by themselves. size is what the row takes but for
-- its fixed part.
CREATE FUNCTION {schema}.scavenge_look(p_from bigint, p_last bigint, p_limit integer)
RETURNS TABLE (
  o_position bigint, o_name text, o_incarnation integer, o_version bigint, o_recorded timestamptz,
  o_link bigint, o_home text, o_home_version bigint, o_size bigint
) LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET enable_bitmapscan = off
SET enable_sort = off
SET enable_material = off
SET jit = off
AS $$
BEGIN
  RETURN QUERY
  SELECT e.position, s.name, s.incarnation, e.version, e.recorded, e.link, t.name, h.version,
         (coalesce(pg_column_size(e.data), 0) + coalesce(pg_column_size(e.metadata), 0))::bigint
  FROM {schema}.events e
  LEFT JOIN {schema}.streams s ON s.id = e.stream
  LEFT JOIN {schema}.events h ON h.position = e.link
  LEFT JOIN {schema}.streams t ON t.id = h.stream
  WHERE e.position BETWEEN p_from AND p_last
  ORDER BY e.position LIMIT p_limit;
END
$$;

-- scavenge_some deletes what is at some positions, under the log's epoch, and the links to it. If
-- there are p_limit of these or more, it deletes so many and nothing else, and o_more is true. If
-- an event of a type was written to a stream after a version, it raises GY004.
-- COMMIT.md says which locks it takes.
CREATE FUNCTION {schema}.scavenge_some(
  p_epoch     bigint,
  p_positions bigint[],
  p_limit     integer,
  p_stream    text,   -- NULL: of no stream
  p_type      text,
  p_version   bigint,
  OUT o_links bigint, -- that were not among p_positions
  OUT o_more  boolean
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
  v_going    bigint[];
  v_links    bigint[];
  v_head     bigint;
  v_recorded timestamptz;
BEGIN
  SELECT array_agg(x.position) INTO v_links
  FROM (SELECT e.position FROM {schema}.events e
        WHERE e.link = ANY (p_positions) AND e.link IS NOT NULL AND e.position <> ALL (p_positions) LIMIT p_limit) x;
  o_links := coalesce(cardinality(v_links), 0);
  o_more := o_links >= p_limit;
  v_going := CASE WHEN o_more THEN v_links ELSE p_positions || v_links END;

  PERFORM {schema}.raise_floors(v_going);

  SELECT e.position, e.recorded INTO v_head, v_recorded FROM {schema}.events e ORDER BY e.position DESC LIMIT 1;
  DELETE FROM {schema}.events e WHERE e.position = ANY (v_going);

  PERFORM FROM {schema}.log l WHERE l.epoch = p_epoch FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'epoch % is over', p_epoch USING ERRCODE = 'GY001';
  END IF;
  -- Whoever writes events has had the log row, so all of them are seen.
  PERFORM FROM {schema}.events e
  WHERE e.stream = (SELECT s.id FROM {schema}.streams s WHERE s.name = p_stream) AND e.version > p_version AND e.type = p_type LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'what goes may be decided otherwise now' USING ERRCODE = 'GY004';
  END IF;
  -- Neither the last position nor an earlier time is given again.
  IF v_head = ANY (v_going) THEN
    UPDATE {schema}.log l SET head = greatest(l.head, v_head), recorded = greatest(l.recorded, v_recorded);
  END IF;
  -- A link that is being written looks for its event again, and nodes that knew the last event
  -- by its id see that it may be gone.
  INSERT INTO {schema}.changes (number)
  SELECT coalesce((SELECT c.number FROM {schema}.changes c ORDER BY c.number DESC LIMIT 1), 0) + 1;
END
$$;
