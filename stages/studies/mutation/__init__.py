"""How many captions of photographs get an edit: measured on drawn captions and on written ones, see docs/mutation.md."""
