-- Dequeue: give the next run of a worker queue to a supervisor, or nothing.

-- Close a lane that looks empty. False when a trigger into it is under way, or it filled meanwhile.
CREATE OR REPLACE FUNCTION runs_close_lane(lane uuid) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF NOT pg_try_advisory_xact_lock(hashtextextended(lane::text, 0)) THEN
    RETURN false;
  END IF;
  -- A new statement: it sees every entry whose transaction held the lock before us.
  DELETE FROM runs_lane WHERE id = lane
    AND NOT EXISTS (SELECT 1 FROM runs_readyentry WHERE lane_id = lane);
  RETURN FOUND;
END $$;

-- No lane of the environment could serve: close its turn when it has none, else set it aside until
-- a slot comes back. The caller holds the environment's mutex.
CREATE OR REPLACE FUNCTION runs_rest_environment(worker_queue_ text, environment text)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT 1 FROM runs_lane WHERE worker_queue = worker_queue_
             AND environment_id = environment AND NOT blocked) THEN
    UPDATE runs_environmentturn SET turn = nextval('runs_turn')
    WHERE worker_queue = worker_queue_ AND environment_id = environment;
  ELSIF pg_try_advisory_xact_lock(hashtextextended(worker_queue_ || ' ' || environment, 1)) THEN
    DELETE FROM runs_environmentturn WHERE worker_queue = worker_queue_
      AND environment_id = environment
      AND NOT EXISTS (SELECT 1 FROM runs_lane WHERE worker_queue = worker_queue_
                      AND environment_id = environment);
    IF NOT FOUND THEN
      UPDATE runs_environmentturn SET blocked = true
      WHERE worker_queue = worker_queue_ AND environment_id = environment
        AND NOT EXISTS (SELECT 1 FROM runs_lane WHERE worker_queue = worker_queue_
                        AND environment_id = environment AND NOT blocked);
    END IF;
  END IF;
END $$;

-- Whether the queue of a lane has a slot left for its key.
CREATE OR REPLACE FUNCTION runs_lane_has_slot(l runs_lane) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT NOT coalesce(q.paused, false)
     AND coalesce(s.running, 0) < coalesce(q.concurrency_limit, 2147483647)
  FROM (SELECT 1) one
  LEFT JOIN deployments_taskqueue q
    ON q.environment_id = l.environment_id AND q.name = l.queue_name
  LEFT JOIN runs_queueslots s
    ON s.environment_id = l.environment_id AND s.queue_name = l.queue_name
   AND s.concurrency_key = l.concurrency_key
$$;

-- Lease the first entry of a lane: version, states, slots, lease, turns. NULL when the lane's head
-- may not be taken by this caller, had to be parked, or had waited for too long; `verdict` says which.
CREATE OR REPLACE FUNCTION runs_lease_head(
  l runs_lane, machines text[], snapshot text, worker_group text, worker_instance_ text,
  request_key_ text, lease_ms int, OUT run text, OUT verdict text
) LANGUAGE plpgsql AS $$
DECLARE
  e runs_readyentry;
  r record;
  t record;
  next_id text;
BEGIN
  SELECT * INTO e FROM runs_readyentry WHERE lane_id = l.id
  ORDER BY score, run_id LIMIT 1 FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    verdict := 'empty';
    RETURN;
  END IF;
  SELECT id, environment_id, task_slug, worker_id, machine, snapshot_id, attempt_number, ttl_ends_at
  INTO r FROM runs_taskrun WHERE id = e.run_id FOR UPDATE;
  IF r.ttl_ends_at <= clock_timestamp() THEN
    PERFORM runs_expire(r.id, snapshot);
    verdict := 'expired';
    RETURN;
  END IF;
  SELECT w.id AS worker_id, w.version, task.machine INTO t
  FROM deployments_backgroundworker w
  JOIN deployments_workertask task ON task.worker_id = w.id AND task.slug = r.task_slug
  WHERE w.id = coalesce(r.worker_id, (SELECT c.worker_id FROM deployments_currentversion c
                                      WHERE c.environment_id = r.environment_id));
  next_id := runs_next_snapshot_id(r.snapshot_id, snapshot);
  IF t.worker_id IS NULL THEN
    DELETE FROM runs_readyentry WHERE lane_id = e.lane_id AND score = e.score AND run_id = e.run_id;
    INSERT INTO runs_versionwait (run_id, environment_id, task_slug)
    VALUES (r.id, r.environment_id, r.task_slug);
    UPDATE runs_taskrun SET execution_status = 'RUN_CREATED', status = 'PENDING_VERSION',
      snapshot_id = next_id, ttl_ends_at = NULL, updated_at = clock_timestamp() WHERE id = r.id;
    INSERT INTO runs_runsnapshot (run_id, id, execution_status, run_status, event, description, is_valid,
      previous_id, attempt_number, created_at)
    VALUES (r.id, next_id, 'RUN_CREATED', 'PENDING_VERSION', 'park', 'No version has this task', true,
      r.snapshot_id, r.attempt_number, clock_timestamp());
    verdict := 'parked';
    RETURN;
  END IF;
  IF machines IS NOT NULL AND NOT coalesce(r.machine, t.machine) = ANY (machines) THEN
    verdict := 'too large';
    RETURN;
  END IF;
  DELETE FROM runs_readyentry WHERE lane_id = e.lane_id AND score = e.score AND run_id = e.run_id;
  INSERT INTO runs_lease (run_id, environment_id, queue_name, concurrency_key, worker_group_id,
    due_at, request_key)
  VALUES (r.id, l.environment_id, l.queue_name, l.concurrency_key, worker_group,
    clock_timestamp() + lease_ms * interval '1 millisecond', request_key_);
  INSERT INTO runs_queueslots (environment_id, queue_name, concurrency_key, running)
  VALUES (l.environment_id, l.queue_name, l.concurrency_key, 1)
  ON CONFLICT (environment_id, queue_name, concurrency_key)
  DO UPDATE SET running = runs_queueslots.running + 1;
  UPDATE runs_taskrun SET execution_status = 'PENDING_EXECUTING', status = 'DEQUEUED',
    snapshot_id = next_id, worker_id = t.worker_id, version = t.version, ttl_ends_at = NULL,
    machine = coalesce(r.machine, t.machine), dispatch_number = dispatch_number + 1,
    updated_at = clock_timestamp() WHERE id = r.id;
  INSERT INTO runs_runsnapshot (run_id, id, execution_status, run_status, event, description, is_valid,
    previous_id, attempt_number, worker_id, worker_group_id, worker_instance, request_key, created_at)
  VALUES (r.id, next_id, 'PENDING_EXECUTING', 'PENDING', 'dequeue', 'Leased', true, r.snapshot_id,
    r.attempt_number, t.worker_id, worker_group, worker_instance_, request_key_, clock_timestamp());
  UPDATE runs_lane SET turn = nextval('runs_turn') WHERE id = l.id;
  run := r.id;
  verdict := 'leased';
END $$;

-- Lease the next run of one environment. The caller holds its mutex. A call looks at a bounded number
-- of lanes; `more` says that others are left, and that the next call begins with them.
CREATE OR REPLACE FUNCTION runs_lease_from_environment(
  worker_queue_ text, environment text, machines text[], snapshot text, worker_group text,
  worker_instance_ text, request_key_ text, lease_ms int, OUT run text, OUT more boolean
) LANGUAGE plpgsql AS $$
DECLARE
  l runs_lane;
  head record;
  after_turn bigint := -1;
  room int;
BEGIN
  more := false;
  SELECT CASE WHEN e.paused THEN 0 ELSE e.concurrency_limit END - s.running INTO room
  FROM runs_environmentslots s JOIN tenants_environment e ON e.id = s.environment_id
  WHERE s.environment_id = environment;
  IF coalesce(room, 0) <= 0 THEN
    UPDATE runs_environmentturn SET blocked = true WHERE environment_id = environment AND NOT blocked;
    RETURN;
  END IF;
  FOR step IN 1..100 LOOP
    more := step = 100;
    SELECT * INTO l FROM runs_lane WHERE worker_queue = worker_queue_
      AND environment_id = environment AND NOT blocked AND turn > after_turn
    ORDER BY turn LIMIT 1;
    IF NOT FOUND THEN
      more := false;
      EXIT;
    END IF;
    IF NOT runs_lane_has_slot(l) THEN
      UPDATE runs_lane SET blocked = true WHERE id = l.id;
      CONTINUE;
    END IF;
    head := runs_lease_head(l, machines, snapshot, worker_group, worker_instance_, request_key_, lease_ms);
    IF head.verdict = 'leased' THEN
      UPDATE runs_environmentslots SET running = running + 1 WHERE environment_id = environment;
      UPDATE runs_environmentturn SET turn = nextval('runs_turn'), blocked = (room = 1)
      WHERE worker_queue = worker_queue_ AND environment_id = environment;
      IF room = 1 THEN
        UPDATE runs_environmentturn SET blocked = true
        WHERE environment_id = environment AND NOT blocked;
      END IF;
      run := head.run;
      RETURN;
    END IF;
    IF head.verdict = 'too large' OR (head.verdict = 'empty' AND NOT runs_close_lane(l.id)) THEN
      after_turn := l.turn;
    END IF;
  END LOOP;
  IF more THEN
    UPDATE runs_lane SET turn = nextval('runs_turn')
    WHERE worker_queue = worker_queue_ AND environment_id = environment AND NOT blocked
      AND turn <= after_turn;
  END IF;
  PERFORM runs_rest_environment(worker_queue_, environment);
END $$;

-- Lease the next run of a worker queue, or nothing. Environments take turns. One that another
-- dequeue is serving is passed over; `busy` names the first of them, for runs_dequeue_waiting. `more`
-- says that there was more to look at than one call does.
CREATE OR REPLACE FUNCTION runs_dequeue(
  worker_queue_ text, machines text[], snapshot text, worker_group text, worker_instance_ text,
  request_key_ text, lease_ms int, OUT run text, OUT busy text, OUT more boolean
) LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
  environment text;
  passed text[] := '{}';
  leased record;
BEGIN
  more := false;
  FOR step IN 1..64 LOOP
    SELECT t.environment_id INTO environment FROM runs_environmentturn t
    WHERE t.worker_queue = worker_queue_ AND NOT t.blocked AND t.environment_id <> ALL (passed)
    ORDER BY t.turn LIMIT 1;
    EXIT WHEN NOT FOUND;
    passed := passed || environment;
    PERFORM 1 FROM runs_environmentslots WHERE environment_id = environment FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
      busy := coalesce(busy, environment);
      CONTINUE;
    END IF;
    leased := runs_lease_from_environment(worker_queue_, environment, machines, snapshot,
      worker_group, worker_instance_, request_key_, lease_ms);
    run := leased.run;
    more := more OR leased.more OR step = 64;
    EXIT WHEN run IS NOT NULL;
  END LOOP;
END $$;

-- Lease the next run of one environment, waiting for whoever serves it now. A statement of its own:
-- waiting while holding another environment's mutex could end in a deadlock.
CREATE OR REPLACE FUNCTION runs_dequeue_waiting(
  worker_queue_ text, environment text, machines text[], snapshot text, worker_group text,
  worker_instance_ text, request_key_ text, lease_ms int, OUT run text, OUT more boolean
) LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
  PERFORM runs_lock_environment(environment);
  SELECT leased.run, leased.more INTO run, more
  FROM runs_lease_from_environment(worker_queue_, environment, machines, snapshot,
    worker_group, worker_instance_, request_key_, lease_ms) leased;
END $$;
