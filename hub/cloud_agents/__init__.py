"""Tasks for agents elsewhere: vendors' cloud agents, A2A agents by their URL, and agents of this machine, all followed the same way."""
