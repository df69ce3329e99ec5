"""Running a data source's sync: an HTTP request or a command, one at a time per data source."""
