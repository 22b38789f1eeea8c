"""The translator's state: bindings, sessions, ports, timers. Pure: clock and random source are arguments."""
