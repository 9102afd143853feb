SELECT $columns FROM $source
