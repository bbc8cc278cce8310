"""Small helpers that decide bytes: seeds, text, Parquet tables."""
