-- A budget that is set counts the calls of its day in one sum: one by one, each would walk over every figure that the same
-- transaction had written before, and some ten thousand calls would take longer than a statement may.
--
-- Attempts have their place in the lock order too: the job, its images by position, their attempts by id, the account's row.

DROP TRIGGER attempts_count ON attempts;
CREATE TRIGGER attempts_count_new AFTER INSERT ON attempts FOR EACH ROW
    WHEN (NEW.is_budgeted) EXECUTE FUNCTION count_call();
CREATE TRIGGER attempts_count AFTER UPDATE ON attempts FOR EACH ROW
    WHEN (NEW.is_budgeted AND NEW.budget_day IS NOT DISTINCT FROM OLD.budget_day) EXECUTE FUNCTION count_call();
COMMENT ON COLUMN attempts.budget_day IS
    'the day of its account that it is counted on; NULL: of none. Whoever sets it later counts it there (count_today)';
