SELECT $columns FROM read_parquet([$files]$options)
