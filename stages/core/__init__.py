"""What decides no sample: how a stage starts and ends, reads its settings, and puts away files."""
