"""Which QUIC engine either side of a tunnel uses."""


def with_engines(net, client="aioquic", server="aioquic"):
    for each, engine in ((net.client, client), (net.server, server)):
        changes = {"quic": {"engine": engine}}
        if engine == "qh3":
            changes["plugins"] = {"qh3": {}}
        each.configure(changes)
    return net
