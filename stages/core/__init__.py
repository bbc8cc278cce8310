"""Infrastructure that decides no sample: parameters, paths, starting and ending a stage, files, shards, provenance."""
