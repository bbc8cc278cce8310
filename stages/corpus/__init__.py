"""Images and captions: the sources they come from, and the shards that hold them."""
