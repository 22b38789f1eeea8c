"""The three ways an instance ends, and that each leaves both hosts as they were: routes, rules, addresses, links,
nftables, settings, resolv.conf, the run directory, and no process, so no socket either."""

ENDS = ("SIGKILL", "stop", "SIGTERM")


def end(instance, how):
    if how == "SIGKILL":
        instance.kill()  # and waits for the guard
    elif how == "stop":
        assert instance.stop_by_command() == 0
    else:
        assert instance.stop() == 0


def ends(net, round):
    """End client and server, each in another way; three rounds have each in all of them."""
    end(net.client, ENDS[round % 3])
    end(net.server, ENDS[(round + 2) % 3])
    nothing_is_left(net)


def ends_in_every_way(net):
    """A restart is a crash's neighbour as well: what it finds is what the end before it left."""
    ends(net, 0)
    for round in (1, 2):
        net.server.start()
        net.server.wait_state("listening")
        net.client.start()
        net.client.wait_state("connected")
        ends(net, round)


def nothing_is_left(net):
    assert net.left_behind() == []
    assert [pid for namespace in (*net.client_ns, net.server_ns) for pid in namespace.pids()] == []
