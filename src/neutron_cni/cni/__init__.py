"""The CNI protocol: requests, results, versions, delegation. It knows no cloud and no kernel."""
