"""The report of one or more nights as a single HTML page: figures by SQL, charts, a template."""
