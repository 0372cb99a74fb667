"""Memory: what users have said that is worth knowing later, kept per key, found again by what is asked, and told to the model."""
