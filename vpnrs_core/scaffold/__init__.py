"""What `vpnrs plugins new` writes: an installable package of one plugin, complete and tested, to be changed."""
