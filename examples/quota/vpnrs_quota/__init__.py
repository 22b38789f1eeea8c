"""A quota of bytes, a speed and an expiry for each principal."""
