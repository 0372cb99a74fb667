"""How providers and connections fare: what is out of action, what they say of their limits, how fast they answer."""
