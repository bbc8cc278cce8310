"""Pseudo-targets for edits: embeddings, neighbours, filters, masks, and the pairs that are held out."""
