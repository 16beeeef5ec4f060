# The bases of the product's image: `runtime` has Python, `build` can build wheels as well, and trusts what this machine trusts.
ARG DEBIAN
FROM ${DEBIAN} AS runtime
RUN apt-get update -q \
 && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends ca-certificates python3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*

FROM runtime AS build
RUN apt-get update -q \
 && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends gcc libc6-dev python3-dev python3-pip python3-venv \
 && rm -rf /var/lib/apt/lists/*
COPY trusted.crt /etc/ssl/certs/ca-certificates.crt
COPY pip.conf /etc/pip.conf
