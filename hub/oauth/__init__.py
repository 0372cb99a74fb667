"""OAuth: metadata of authorization servers, and the hub as a resource server that takes their access tokens."""
