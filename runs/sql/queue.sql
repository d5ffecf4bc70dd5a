-- The queue's functions. Each runs inside the caller's transaction or statement.
--
-- Order of locks, everywhere: the environment's mutex (its row of runs_environmentslots), then
-- lanes and entries, then the run. Triggers take none of them.

CREATE SEQUENCE IF NOT EXISTS runs_turn;

-- Snapshot ids of one run sort in the order they were made, also when clocks disagree or jump:
-- the candidate is used when it is later, else the time of the previous id plus one millisecond.
CREATE OR REPLACE FUNCTION runs_next_snapshot_id(previous text, candidate text)
RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  digits constant text := '0123456789abcdefghijklmnopqrstuv';
  head constant int := length('snapshot_');
  time_part text;
  position_ int;
BEGIN
  IF previous IS NULL OR candidate COLLATE "C" > previous COLLATE "C" THEN
    RETURN candidate;
  END IF;
  time_part := substr(previous, head + 1, 10);
  FOR place IN REVERSE 10..1 LOOP
    position_ := strpos(digits, substr(time_part, place, 1));
    IF position_ < 32 THEN
      time_part := overlay(time_part PLACING substr(digits, position_ + 1, 1) FROM place FOR 1);
      EXIT;
    END IF;
    time_part := overlay(time_part PLACING '0' FROM place FOR 1);
  END LOOP;
  RETURN 'snapshot_' || time_part || substr(candidate, head + 11);
END $$;

-- Make sure the lane of a new entry is open. The shared lock is held until the caller commits;
-- a lane is closed only under the exclusive one (runs_close_lane), so no entry that is still
-- invisible there can be left in a closed lane. Only a lane that had to be opened touches the turns.
CREATE OR REPLACE FUNCTION runs_open_lane(
  lane uuid, worker_queue_ text, environment text, queue text, key text
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(hashtextextended(lane::text, 0));
  INSERT INTO runs_lane (id, worker_queue, environment_id, queue_name, concurrency_key, turn, blocked)
  VALUES (lane, worker_queue_, environment, queue, key, nextval('runs_turn'), false)
  ON CONFLICT (id) DO NOTHING;
  IF FOUND THEN
    INSERT INTO runs_environmentslots (environment_id, running) VALUES (environment, 0)
    ON CONFLICT DO NOTHING;
    PERFORM pg_advisory_xact_lock_shared(hashtextextended(worker_queue_ || ' ' || environment, 1));
    INSERT INTO runs_environmentturn (worker_queue, environment_id, turn, blocked)
    VALUES (worker_queue_, environment, nextval('runs_turn'), false)
    ON CONFLICT (worker_queue, environment_id) DO UPDATE SET blocked = false
      WHERE runs_environmentturn.blocked;
  END IF;
END $$;

-- Put a run that is QUEUED into its lane.
CREATE OR REPLACE FUNCTION runs_enqueue(run text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  r record;
BEGIN
  SELECT lane_id, score, worker_queue, environment_id, queue_name, concurrency_key
  INTO STRICT r FROM runs_taskrun WHERE id = run;
  INSERT INTO runs_readyentry (lane_id, score, run_id) VALUES (r.lane_id, r.score, run)
  ON CONFLICT DO NOTHING;
  PERFORM runs_open_lane(r.lane_id, r.worker_queue, r.environment_id, r.queue_name, r.concurrency_key);
END $$;

-- Take the environment's mutex.
CREATE OR REPLACE FUNCTION runs_lock_environment(environment text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM 1 FROM runs_environmentslots WHERE environment_id = environment FOR UPDATE;
  IF NOT FOUND THEN
    INSERT INTO runs_environmentslots (environment_id, running) VALUES (environment, 0)
    ON CONFLICT DO NOTHING;
    PERFORM 1 FROM runs_environmentslots WHERE environment_id = environment FOR UPDATE;
  END IF;
END $$;

-- Open what was blocked by the limits of a queue's key, and its environment with it.
-- queue NULL: everything of the environment (its own limit or pause changed). Give the worker queues
-- that became open.
CREATE OR REPLACE FUNCTION runs_unblock(environment text, queue text, key text)
RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
  opened text[];
BEGIN
  UPDATE runs_lane SET blocked = false
  WHERE environment_id = environment AND blocked
    AND (queue IS NULL OR (queue_name = queue AND (key IS NULL OR concurrency_key = key)));
  WITH unblocked AS (
    UPDATE runs_environmentturn SET blocked = false
    WHERE environment_id = environment AND blocked RETURNING worker_queue
  )
  SELECT coalesce(array_agg(worker_queue), '{}') INTO opened FROM unblocked;
  RETURN opened;
END $$;

-- Limits and pauses are written by other apps. Whoever lifts one opens what it had blocked, under the
-- environment's mutex: a dequeue that still saw the old limit is over before, and its block is seen.
CREATE OR REPLACE FUNCTION runs_environment_lifted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM runs_lock_environment(NEW.id);
  PERFORM runs_unblock(NEW.id, NULL, NULL);
  RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER runs_environment_lifted
  AFTER UPDATE OF concurrency_limit, paused ON tenants_environment FOR EACH ROW
  WHEN (NEW.concurrency_limit > OLD.concurrency_limit OR OLD.paused AND NOT NEW.paused)
  EXECUTE FUNCTION runs_environment_lifted();
CREATE OR REPLACE FUNCTION runs_queue_lifted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM runs_lock_environment(NEW.environment_id);
  PERFORM runs_unblock(NEW.environment_id, NEW.name, NULL);
  RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER runs_queue_lifted
  AFTER UPDATE OF concurrency_limit, paused ON deployments_taskqueue FOR EACH ROW
  WHEN (OLD.concurrency_limit IS NOT NULL AND NEW.concurrency_limit IS NULL
    OR NEW.concurrency_limit > OLD.concurrency_limit OR OLD.paused AND NOT NEW.paused)
  EXECUTE FUNCTION runs_queue_lifted();

-- Take a run's lease away and give its slots back; give the worker queues that may use them, NULL
-- when it had no lease. The caller holds the environment's mutex.
CREATE OR REPLACE FUNCTION runs_end_lease(run text) RETURNS text[] LANGUAGE plpgsql
SET enable_seqscan = off AS $$
DECLARE
  l runs_lease;
BEGIN
  DELETE FROM runs_lease WHERE run_id = run RETURNING * INTO l;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  UPDATE runs_environmentslots SET running = running - 1 WHERE environment_id = l.environment_id;
  DELETE FROM runs_queueslots
  WHERE environment_id = l.environment_id AND queue_name = l.queue_name
    AND concurrency_key = l.concurrency_key AND running = 1;
  IF NOT FOUND THEN
    UPDATE runs_queueslots SET running = running - 1
    WHERE environment_id = l.environment_id AND queue_name = l.queue_name
      AND concurrency_key = l.concurrency_key;
  END IF;
  RETURN runs_unblock(l.environment_id, l.queue_name, l.concurrency_key);
END $$;

-- Take a run out of wherever it waits. The caller holds the environment's mutex.
CREATE OR REPLACE FUNCTION runs_leave_places(run text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM runs_readyentry e USING runs_taskrun r
  WHERE r.id = run AND e.lane_id = r.lane_id AND e.score = r.score AND e.run_id = r.id;
  DELETE FROM runs_delayedentry WHERE run_id = run;
  DELETE FROM runs_versionwait WHERE run_id = run;
END $$;

-- A worker group whose queue has ever held a run keeps its region label.
CREATE OR REPLACE FUNCTION runs_mark_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE deployments_workerinstancegroup SET has_run_history = true
  WHERE NOT has_run_history AND master_queue =
    (SELECT worker_queue FROM runs_taskrun WHERE id = NEW.run_id);
  RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION runs_mark_lane_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE deployments_workerinstancegroup SET has_run_history = true
  WHERE NOT has_run_history AND master_queue = NEW.worker_queue;
  RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER runs_lane_history AFTER INSERT ON runs_lane
  FOR EACH ROW EXECUTE FUNCTION runs_mark_lane_history();
CREATE OR REPLACE TRIGGER runs_delayed_history AFTER INSERT ON runs_delayedentry
  FOR EACH ROW EXECUTE FUNCTION runs_mark_history();
CREATE OR REPLACE TRIGGER runs_versionwait_history AFTER INSERT ON runs_versionwait
  FOR EACH ROW EXECUTE FUNCTION runs_mark_history();

-- Snapshots are append-only; retention may delete them, nothing may change them.
CREATE OR REPLACE FUNCTION runs_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'snapshots are append-only' USING ERRCODE = 'restrict_violation';
END $$;
CREATE OR REPLACE TRIGGER runs_snapshots_append_only BEFORE UPDATE ON runs_runsnapshot
  FOR EACH ROW EXECUTE FUNCTION runs_refuse_change();
