"""Where a query meets storage, budgets and cancellation (DESIGN section 2)."""
