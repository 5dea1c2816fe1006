"""Plans of what an attachment needs of the kernel, and the rtnetlink code that carries them out.

Nothing here knows of pods' leases or of Neutron.
"""
