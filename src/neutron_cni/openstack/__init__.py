"""Typed calls of Neutron (and later Nova): the only room that talks to clouds."""
