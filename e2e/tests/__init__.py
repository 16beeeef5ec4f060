"""What is proved in a cluster: any that a kubeconfig reaches. Run by `make e2e`, never by `make test`."""
