"""How the pipeline's cost grows: measured by ``make scale``, written to reports/scale.json, and what `iedit plan` reads."""
