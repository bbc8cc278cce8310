"""Finding a pseudo-target for each edit: embeddings, neighbours, filters, and what is held out."""
