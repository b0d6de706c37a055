"""The report page: chapter types, drawing, charts, tables and a run's files."""
