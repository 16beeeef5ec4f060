# A kind node from Debian's packages. Its binaries are built from pins.toml; `offline/node.py` then bakes the images of the control
# plane into it. bookworm, because its systemd still speaks cgroup v1.
ARG DEBIAN
FROM ${DEBIAN}
RUN apt-get update -q \
 && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
      conntrack containerd containernetworking-plugins ethtool iproute2 iptables jq kmod mount nftables procps runc socat \
      systemd systemd-sysv \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
 # What a machine does at boot, a container neither can nor needs to.
 && rm -f /etc/systemd/system/*.wants/* /lib/systemd/system/multi-user.target.wants/* /lib/systemd/system/basic.target.wants/* \
      /lib/systemd/system/local-fs.target.wants/* /lib/systemd/system/sockets.target.wants/*udev* \
      /lib/systemd/system/sockets.target.wants/*initctl* /lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service
COPY node/ /
COPY bin/ /usr/bin/
RUN systemctl enable containerd.service kubelet.service
ENV container=docker
STOPSIGNAL SIGRTMIN+3
ENTRYPOINT ["/usr/local/bin/entrypoint"]
