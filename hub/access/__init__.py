"""Who may do what, from where, when and how often, and the log of what was done."""
