"""Studies: run by hand or by a flow; none is a stage of DVC. They write to ``reports/latest``."""
