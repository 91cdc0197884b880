"""The shared-memory protocol as an explicit-state model, and the checker that explores it whole."""
