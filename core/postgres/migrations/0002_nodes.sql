-- The nodes that have the store open: nothing is taken away while one that does not
-- know it is among them.
-- least: 1

-- A row is one opening of the store. Its node puts off the end again and again; the
-- server's clock alone says whether it has come.
CREATE TABLE {schema}.nodes (
  id      uuid NOT NULL PRIMARY KEY,
  name    text NOT NULL,
  version text NOT NULL,                     -- of the program
  knows   integer NOT NULL,                  -- the newest migration that the node knows
  since   timestamptz NOT NULL DEFAULT clock_timestamp(),
  until   timestamptz NOT NULL               -- it counts as gone from then on
);

-- refuse_older_nodes is what a migration begins with after which a node has to know
-- more than before. Whoever calls it has the lock of migrations, without which no node
-- comes in. Nodes that count as gone are taken out: should one of them have been asleep,
-- it finds that out, comes in again, and is told that it is too old.
CREATE FUNCTION {schema}.refuse_older_nodes(p_least integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_older text;
BEGIN
  DELETE FROM {schema}.nodes n WHERE n.until < clock_timestamp();
  SELECT string_agg(format('%s (gyre %s, knows %s)', n.name, n.version, n.knows), ', ' ORDER BY n.name)
  INTO v_older FROM {schema}.nodes n WHERE n.knows < p_least;
  IF v_older IS NOT NULL THEN
    RAISE EXCEPTION 'the migration needs nodes that know %, and older ones have the store open: %', p_least, v_older
      USING ERRCODE = 'GY002';
  END IF;
END
$$;
