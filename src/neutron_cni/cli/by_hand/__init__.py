"""`neutron-cni attach` and `detach`: a running container, or any namespace, on a CNI network.

What an operator names is looked up without the runtimes' programs: `engine_api` asks Docker and
podman, `task_files` reads what containerd, podman and CRI-O leave on disk, `targets` judges what
they found. `networks` reads the configuration folder, `cni.runtime` calls the plugins, `records`
keeps what was done, and `typed` tells it as the commands that one would have typed.
"""
