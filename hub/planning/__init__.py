"""From a model string to targets in order: who can serve it, what is known of each, and why one is left out."""
