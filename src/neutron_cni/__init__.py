"""Kubernetes pods as first-class citizens of OpenStack Neutron networks."""

__version__ = "0.1.0"
