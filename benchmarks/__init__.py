"""Side-by-side speed against named peers: everything compared runs in turn, in one process run, on one machine.

Refuses absolute claims: what is kept are ratios of neighbouring measurements, with their spread and the machine's state.
"""
