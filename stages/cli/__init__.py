"""The command ``iedit``."""
