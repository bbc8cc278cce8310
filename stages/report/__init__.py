"""What a reader sees of an evaluation: tables, a page, and a contact sheet. Equal input gives equal bytes."""
