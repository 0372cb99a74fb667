"""What calls cost and who may spend how much: prices, bounds, budgets, and the two places where budgets are kept."""
