"""Studies that are run by hand or by a flow; no stages of DVC."""
