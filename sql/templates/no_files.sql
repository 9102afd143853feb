SELECT $columns WHERE false
