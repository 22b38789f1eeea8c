"""State of the translator: bindings, sessions, ports and timers. Pure: the clock and the random source are arguments."""
