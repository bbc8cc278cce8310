"""The command ``iedit``: one module per sub-command or group of them, imported when the sub-command is used."""
