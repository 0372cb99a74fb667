"""What every login of this hub somewhere else shares, as the client of an OAuth server: tokens, their renewal, answers that count once."""
