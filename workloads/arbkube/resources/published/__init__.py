"""What others read of the kinds, made from their types: CRDs for Kubernetes and reference pages for people."""
