-- Make sure the lanes of many new entries of one environment are open (runs_open_lane does it for
-- one). All lanes come first and in their order, then the environment's slots and turns: that is
-- also the order of a single trigger, so nobody waits in a circle.
CREATE OR REPLACE FUNCTION runs_open_lanes(
  lanes uuid[], worker_queues text[], environment text, queues text[], keys text[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  opened text[];
  turn_of text;
BEGIN
  PERFORM pg_advisory_xact_lock_shared(hashtextextended(sorted.lane::text, 0))
  FROM (SELECT lane FROM unnest(lanes) AS given(lane) ORDER BY lane) sorted;
  WITH made AS (
    INSERT INTO runs_lane (id, worker_queue, environment_id, queue_name, concurrency_key, turn,
      blocked)
    SELECT sorted.lane, sorted.worker_queue, environment, sorted.queue, sorted.key,
      nextval('runs_turn'), false
    FROM (SELECT * FROM unnest(lanes, worker_queues, queues, keys)
            AS given(lane, worker_queue, queue, key) ORDER BY lane) sorted
    ON CONFLICT (id) DO NOTHING RETURNING worker_queue
  )
  SELECT array_agg(DISTINCT worker_queue ORDER BY worker_queue) INTO opened FROM made;
  IF opened IS NULL THEN
    RETURN;
  END IF;
  INSERT INTO runs_environmentslots (environment_id, running) VALUES (environment, 0)
  ON CONFLICT DO NOTHING;
  FOREACH turn_of IN ARRAY opened LOOP
    PERFORM pg_advisory_xact_lock_shared(hashtextextended(turn_of || ' ' || environment, 1));
    INSERT INTO runs_environmentturn (worker_queue, environment_id, turn, blocked)
    VALUES (turn_of, environment, nextval('runs_turn'), false)
    ON CONFLICT (worker_queue, environment_id) DO UPDATE SET blocked = false
      WHERE runs_environmentturn.blocked;
  END LOOP;
END $$;
