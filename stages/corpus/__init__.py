"""Images and captions: where they come from, and the shards that they are kept in."""
