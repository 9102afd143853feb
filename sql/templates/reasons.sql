CREATE OR REPLACE VIEW reasons AS SELECT * FROM (VALUES $pairs) AS r (reason, words)
