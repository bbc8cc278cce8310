"""The editor: a request in, edited pictures out."""
