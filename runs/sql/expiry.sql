-- What becomes of runs that waited longer than their ttl. `ttl_ends_at` is set while a run waits for
-- its first lease, and at no other time.

-- End a QUEUED run whose ttl is over. The caller holds its environment's mutex and the run's row.
CREATE OR REPLACE FUNCTION runs_expire(run text, candidate text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  r record;
  next_id text;
BEGIN
  SELECT snapshot_id, attempt_number, environment_id, task_slug, idempotency_key, ttl
  INTO STRICT r FROM runs_taskrun WHERE id = run;
  next_id := runs_next_snapshot_id(r.snapshot_id, candidate);
  UPDATE runs_taskrun SET execution_status = 'FINISHED', status = 'EXPIRED', snapshot_id = next_id,
    ttl_ends_at = NULL, expired_at = clock_timestamp(), completed_at = clock_timestamp(),
    updated_at = clock_timestamp(),
    error = jsonb_build_object('type', 'STRING_ERROR', 'raw', 'It waited longer than its ttl of ' || r.ttl)
  WHERE id = run;
  INSERT INTO runs_runsnapshot (run_id, id, execution_status, run_status, event, description, is_valid,
    previous_id, attempt_number, created_at)
  VALUES (run, next_id, 'FINISHED', 'EXPIRED', 'expire', 'Its ttl is over', true, r.snapshot_id,
    r.attempt_number, clock_timestamp());
  PERFORM runs_leave_places(run);
  DELETE FROM runs_idempotencykey WHERE environment_id = r.environment_id
    AND task_slug = r.task_slug AND key = r.idempotency_key AND run_id = run;
END $$;

-- Expire those of these runs of one environment that still wait and whose ttl is over; give how many.
CREATE OR REPLACE FUNCTION runs_expire_waiting(environment text, run_ids text[], candidates text[])
RETURNS int LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
  over text;
  expired int := 0;
BEGIN
  PERFORM runs_lock_environment(environment);
  -- A new statement: it sees whatever was done under the mutex before us.
  FOR over IN
    SELECT id FROM runs_taskrun WHERE id = ANY (run_ids) AND execution_status = 'QUEUED'
      AND ttl_ends_at <= clock_timestamp() ORDER BY id FOR UPDATE SKIP LOCKED
  LOOP
    expired := expired + 1;
    PERFORM runs_expire(over, candidates[expired]);
  END LOOP;
  -- A process of an older release ends runs without taking their ttl away.
  UPDATE runs_taskrun SET ttl_ends_at = NULL
  WHERE id = ANY (run_ids) AND execution_status <> 'QUEUED' AND ttl_ends_at IS NOT NULL;
  RETURN expired;
END $$;
