"""The CNI protocol: requests, results, versions, delegation. No policy, no cloud, no kernel."""
