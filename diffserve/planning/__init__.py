"""Per-period decisions, pure: demand and fleet in, plan out."""
