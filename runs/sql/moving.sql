-- Move runs that wait to another worker queue. Nothing of a run changes but where it waits and why:
-- its score, its priority and its ttl stay, and with the score its place in line.

-- Whether a run that had an attempt goes on from a checkpoint, which only one kind of workload can
-- restore; an attempt that starts after it needs none.
CREATE OR REPLACE FUNCTION runs_has_checkpoint(run text) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT coalesce((
    SELECT s.event = 'checkpoint' FROM runs_runsnapshot s WHERE s.run_id = run AND s.is_valid
      AND s.event IN ('checkpoint', 'start', 'retry_queued', 'retry_in_place')
    ORDER BY s.id COLLATE "C" DESC LIMIT 1), false)
$$;

-- Whether a run may be moved: it waits, nobody chose its queue, and it has no checkpoint. Without a
-- subquery of its own, so that it becomes part of the query that calls it.
CREATE OR REPLACE FUNCTION runs_may_move(run text, execution_status text, why text, attempt int)
RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT execution_status IN ('QUEUED', 'DELAYED', 'RUN_CREATED')
    AND why NOT IN ('pinned', 'development', 'worker_deployment')
    AND (attempt = 0 OR NOT runs_has_checkpoint(run))
$$;

-- Move those of these runs of one environment that still wait where they were seen. All arrays are
-- of one length. Give how many were moved, and the worker queues on which some of them are ready.
CREATE OR REPLACE FUNCTION runs_move_within(
  environment text, run_ids text[], sources text[], targets text[], lanes uuid[], revision bigint,
  OUT moved int, OUT ready text[]
) LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
  opened record;
BEGIN
  PERFORM runs_lock_environment(environment);
  -- A new statement: it sees whatever was done under the mutex before us.
  WITH waiting AS (
    SELECT r.id, r.lane_id AS old_lane, r.score, r.queue_name, r.concurrency_key, g.target, g.lane
    FROM unnest(run_ids, sources, targets, lanes) AS g(run, source, target, lane)
    JOIN runs_taskrun r ON r.id = g.run
    WHERE r.environment_id = environment AND r.worker_queue = g.source
      AND runs_may_move(r.id, r.execution_status, r.why, r.attempt_number)
    FOR UPDATE OF r
  ), taken AS (
    DELETE FROM runs_readyentry e USING waiting w
    WHERE e.lane_id = w.old_lane AND e.score = w.score AND e.run_id = w.id
    RETURNING w.lane, e.score, e.run_id, w.target, w.queue_name, w.concurrency_key
  ), entered AS (
    INSERT INTO runs_readyentry (lane_id, score, run_id) SELECT lane, score, run_id FROM taken
  ), changed AS (
    UPDATE runs_taskrun r SET worker_queue = w.target, lane_id = w.lane, why = 'moved',
      decided_revision = revision, updated_at = clock_timestamp()
    FROM waiting w WHERE r.id = w.id
  ), lane AS (
    SELECT DISTINCT lane, target, queue_name, concurrency_key FROM taken
  )
  SELECT (SELECT count(*) FROM waiting) AS moved, array_agg(l.lane) AS lanes,
    array_agg(l.target) AS targets, array_agg(l.queue_name) AS queues,
    array_agg(l.concurrency_key) AS keys
  INTO opened FROM lane l;
  moved := opened.moved;
  IF opened.lanes IS NOT NULL THEN
    PERFORM runs_open_lanes(opened.lanes, opened.targets, environment, opened.queues, opened.keys);
    ready := ARRAY(SELECT DISTINCT unnest(opened.targets));
  END IF;
END $$;

-- The same for runs of several environments, whose mutexes are taken in one order by everybody who
-- takes more than one. The groups that take the runs over remember that they had some, also those
-- that are not ready yet.
CREATE OR REPLACE FUNCTION runs_move_waiting(
  environments text[], run_ids text[], sources text[], targets text[], lanes uuid[],
  revision bigint, OUT moved int, OUT ready text[]
) LANGUAGE plpgsql AS $$
DECLARE
  part record;
  done record;
BEGIN
  moved := 0;
  ready := '{}';
  FOR part IN
    SELECT g.environment, array_agg(g.run) AS runs, array_agg(g.source) AS sources,
      array_agg(g.target) AS targets, array_agg(g.lane) AS lanes
    FROM unnest(environments, run_ids, sources, targets, lanes)
      AS g(environment, run, source, target, lane)
    GROUP BY g.environment ORDER BY g.environment
  LOOP
    done := runs_move_within(part.environment, part.runs, part.sources, part.targets, part.lanes,
      revision);
    moved := moved + done.moved;
    ready := ready || coalesce(done.ready, '{}');
  END LOOP;
  UPDATE deployments_workerinstancegroup SET has_run_history = true
  WHERE NOT has_run_history AND moved > 0 AND master_queue = ANY (targets);
  ready := ARRAY(SELECT DISTINCT unnest(ready));
END $$;
