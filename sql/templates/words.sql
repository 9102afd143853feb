CREATE OR REPLACE VIEW $name AS SELECT * FROM (VALUES $rows) AS words ($columns)
