-- The views of one state of a lake. In the DuckDB shell: .read catalog.sql
-- If the lake lies elsewhere for you, say so before: SET VARIABLE lake = 's3://bucket/prefix';
-- On S3, load the extension httpfs and CREATE SECRET (TYPE s3, ...) before.
SET VARIABLE lake = coalesce(getvariable('lake'), $root)
