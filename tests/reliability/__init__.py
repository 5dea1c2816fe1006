"""Processes that die at any point: the harness, and what must be true whatever it does.

Shared by the unit tests (a fake Neutron), the tests against a real one, and `./bench reliability`.
"""
