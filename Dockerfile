# One image for all pods: `python -m arbkube.pods ROLE` by default, and the command `arb`.
#
#   BASE        what it runs on: any Debian-like image with Python 3.11 or newer as python3
#   BUILD_BASE  the same Python with pip and venv
#
# Everything that is installed is pinned in requirements/ and checked by hash. arm64 (--platform linux/arm64) is untested.
ARG BASE=python:3.12-slim-bookworm
ARG BUILD_BASE=${BASE}

FROM ${BUILD_BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
RUN python3 -m venv --without-pip /opt/arbkube && python3 -m venv /opt/build
COPY requirements/ requirements/
# What builds the wheel, at the versions the lock has, and a C compiler for its kernel.
RUN command -v cc >/dev/null || { \
      apt-get update -q && apt-get install -q -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*; }
RUN sed -n -e '/^cython==/,/# via/p' -e '/^setuptools==/,/# via/p' requirements/dev.txt >build.txt \
 && /opt/build/bin/python -m pip install --quiet --require-hashes --requirement build.txt
# Compiled now, because nothing can be written when it runs; by content, so that the same source makes the same layers.
RUN python3 -m pip --python /opt/arbkube/bin/python install --quiet --no-compile --require-hashes --requirement requirements/base.txt \
 && find /opt/arbkube -name tests -type d -prune -exec rm -rf {} + \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/arbkube/lib
COPY pyproject.toml README.md LICENSE ./
COPY workloads/ workloads/
RUN /opt/build/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels . \
 && python3 -m pip --python /opt/arbkube/bin/python install --quiet --no-compile --no-deps --no-index /wheels/*.whl \
 # Without its kernel an installation is only slow, and would say so only in `arb doctor`.
 && test -n "$(find /opt/arbkube -name '_compiled*.so')" \
 && find /opt/arbkube -name '*.p[yx][xi]' -delete \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/arbkube/lib \
 && echo 'arbkube:x:65532:65532:arbkube:/tmp:/usr/sbin/nologin' >>/etc/passwd && echo 'arbkube:x:65532:' >>/etc/group

FROM ${BASE}
COPY --from=build /etc/passwd /etc/group /etc/
COPY --from=build /opt/arbkube /opt/arbkube
ENV PATH=/opt/arbkube/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["/opt/arbkube/bin/python", "-m", "arbkube.pods"]
CMD ["--help"]
