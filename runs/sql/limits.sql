-- Limits and pauses are written by other apps. One that is lowered, and a pause, waits for the dequeues
-- that were chosen under the old one: it takes the environment's mutex before it commits, so that once
-- its write is answered nothing is handed out that it forbids. (Lifting one: runs_environment_lifted.)

CREATE OR REPLACE FUNCTION runs_environment_lowered() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM runs_lock_environment(NEW.id);
  RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER runs_environment_lowered
  AFTER UPDATE OF concurrency_limit, paused ON tenants_environment FOR EACH ROW
  WHEN (NEW.concurrency_limit < OLD.concurrency_limit OR NEW.paused AND NOT OLD.paused)
  EXECUTE FUNCTION runs_environment_lowered();

CREATE OR REPLACE FUNCTION runs_queue_lowered() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM runs_lock_environment(NEW.environment_id);
  RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER runs_queue_lowered
  AFTER UPDATE OF concurrency_limit, paused ON deployments_taskqueue FOR EACH ROW
  WHEN (OLD.concurrency_limit IS NULL AND NEW.concurrency_limit IS NOT NULL
    OR NEW.concurrency_limit < OLD.concurrency_limit OR NEW.paused AND NOT OLD.paused)
  EXECUTE FUNCTION runs_queue_lowered();
