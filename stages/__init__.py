"""The seven stages of the pipeline, one module each, and the library that they share."""
