"""From a caption to an edit prompt, with WordNet.

``captions`` mends what BLIP adds by habit; ``mutation`` puts the rest together: ``units`` (words and compounds) → ``phrases``
(nouns and adjectives that may change) → ``nouns`` and ``adjectives`` (what may replace them), under the ``rules`` of
params.yaml. ``senses`` says what a noun means in a caption, ``english`` which text is a caption at all, ``wordnet`` provides
the dictionary.
"""
