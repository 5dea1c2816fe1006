"""A real Kubernetes on a lab's nodes: its programs, a control plane, and kube-proxy.

There is no kubelet: nodes are objects made by hand, and pods are made by calls of the CNI plugins.
"""
