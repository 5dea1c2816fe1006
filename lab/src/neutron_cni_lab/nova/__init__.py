"""Nova beside the lab's Neutron: a real one, whose hypervisor's machines are the lab's nodes."""
