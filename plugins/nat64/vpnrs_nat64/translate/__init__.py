"""The pure translator between IPv6 and IPv4: bytes in, bytes out, without state, clock or I/O.

Who keeps the sessions calls it so, for a packet of either side:

1. `tuples.kind(packet)`. UNTRANSLATABLE: drop as `tuples.fault(packet)` says. OTHER: `problem.other_protocol`.
   FRAGMENT: `fragments.Fragments.add`, and go on with the whole packet that comes of it.
2. `prefix`: which addresses may be translated at all.
3. `tuples.tuple_of(packet)`, for an ICMP_ERROR `tuples.embedded_tuple(packet)`, → the session → the translated tuple.
4. `mtu.deliver_v4` or `mtu.deliver_v6` with that tuple's addresses and ports → the packets to send; for an ICMP error
   `icmp.error_to_v4` or `icmp.error_to_v6` with the tuple itself.
5. What comes back instead may be a `Problem`: drop for its `reason` (`problem.REASONS` has all of them), and if it has
   an `error`, send `icmp.answer(packet, problem.error, source)`, at a bounded rate.

The fast path: `fast.key_of(frame)` in a dict of `fast.rewriter(old, new, mtu, idents)`; what its `rewrite` declines
goes the way above. An ICMP error never creates, refreshes or ends a session.
"""
