"""The engine: runs an instance. It owns the loop, the TUN, the links and the order in which things start and stop."""
