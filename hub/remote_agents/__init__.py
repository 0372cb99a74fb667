"""A2A agents elsewhere: their cards, pinned as they were allowed, their skills as skills of our registry, and calls that are followed."""
