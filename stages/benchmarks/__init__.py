"""The field's own benchmarks: their formats, their metrics as their authors' code defines them, and a made one."""
