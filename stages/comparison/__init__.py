"""The systems of Table 1, the cases they are compared on, their edits, and their scores."""
