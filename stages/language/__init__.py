"""English words: the WordNet dictionary, and captions changed with it."""
