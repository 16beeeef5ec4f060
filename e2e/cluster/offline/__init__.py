"""What a cluster needs where no image registry is reached: base images from Debian's packages, a node image, a pod network."""
