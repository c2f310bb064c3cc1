"""Raw rows to estimates with intervals, and the cost model."""
