CREATE OR REPLACE VIEW $name AS SELECT * FROM (VALUES $pairs) AS pairs ($code, words)
