"""Small things that decide bytes: seeds, words, tables."""
