"""The editor: requests in, pictures out."""
