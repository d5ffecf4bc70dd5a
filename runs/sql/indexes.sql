-- Django gives every text key a second index, for LIKE patterns. Nothing searches runs by pattern, and
-- each trigger would pay for it.
DO $$
DECLARE
  pattern_index text;
BEGIN
  FOR pattern_index IN
    SELECT indexname FROM pg_indexes
    WHERE schemaname = current_schema() AND tablename LIKE 'runs\_%' AND indexname LIKE '%\_like'
  LOOP
    EXECUTE format('DROP INDEX %I', pattern_index);
  END LOOP;
END $$;
