"""Bearer tokens: `token` authenticates a client by a secret of which the server keeps only a hash."""
