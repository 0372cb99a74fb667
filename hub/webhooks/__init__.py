"""Events of the hub, POSTed to addresses of the owner: which there are, who wants them, and their delivery."""
