"""The first revision, and the triggers that refuse to change or remove an audit row."""

from django.db import migrations

FORWARDS = """
INSERT INTO ledger_revision (id, value, head_hash, pruned_to) VALUES (1, 0, '', 0)
ON CONFLICT DO NOTHING;

CREATE FUNCTION ledger_refuse_rewrite() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit is append-only: % of % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;

CREATE TRIGGER ledger_auditrow_no_rewrite BEFORE UPDATE OR DELETE ON ledger_auditrow
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_rewrite();
CREATE TRIGGER ledger_auditrow_no_truncate BEFORE TRUNCATE ON ledger_auditrow
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_rewrite();
"""

BACKWARDS = """
DROP TRIGGER ledger_auditrow_no_truncate ON ledger_auditrow;
DROP TRIGGER ledger_auditrow_no_rewrite ON ledger_auditrow;
DROP FUNCTION ledger_refuse_rewrite();
DELETE FROM ledger_revision WHERE value = 0;
"""


class Migration(migrations.Migration):
    dependencies = [("ledger", "0001_initial")]

    operations = [migrations.RunSQL(FORWARDS, BACKWARDS)]
