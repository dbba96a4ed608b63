# MLHub: hub, proxy, nginx and sshd in one image. What runs is chosen by START_* variables.
#
# BASE_IMAGE is what is released. BUILD_IMAGE is what the two build stages start from: the same
# image, or one that knows the certificates a build machine needs to reach its package mirrors.
ARG BASE_IMAGE=debian:trixie-slim
ARG BUILD_IMAGE=${BASE_IMAGE}

# ---- python: a virtual environment with the locked packages, byte-compiled ----
# It has no pip of its own: the build stage's pip fills it from outside.
FROM ${BUILD_IMAGE} AS python
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3-pip python3-venv \
 && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv --without-pip /opt/mlhub
COPY docker/requirements/hub.txt docker/requirements/ldap.txt /tmp/
# jsonschema does without its optional format checkers, which build a grammar for seconds and hold 17 MB. They are not
# named any more either, or whatever is installed on top would bring them back.
RUN python3 -m pip --python /opt/mlhub/bin/python install --no-cache-dir --no-compile --require-hashes -r /tmp/hub.txt -r /tmp/ldap.txt \
 && python3 -m pip --python /opt/mlhub/bin/python uninstall --yes --quiet rfc3987-syntax lark isoduration arrow \
 && sed -i 's/^\(Requires-Dist: jsonschema\)\[format-nongpl\]/\1/' /opt/mlhub/lib/python3*/site-packages/jupyter_events-*.dist-info/METADATA \
 && find /opt/mlhub -type d -name tests -path '*/site-packages/*' -prune -exec rm -rf {} + \
 && find /opt/mlhub -name '*.so' -path '*/site-packages/*' -exec chmod a+rx {} +
RUN /opt/mlhub/bin/python -m compileall -q -j0 --invalidation-mode unchecked-hash /opt/mlhub/lib
# For images that are made from this one (mlhub-pip): pip as the one file that Debian ships, and the versions to keep to.
RUN mkdir -p /opt/mlhub/share/mlhub \
 && cp /usr/share/python-wheels/pip-*.whl /opt/mlhub/share/mlhub/pip.whl \
 && sed -n 's/^\([A-Za-z0-9._-]*==[^ ;\\]*\).*/\1/p' /tmp/hub.txt /tmp/ldap.txt | sort -u > /opt/mlhub/share/mlhub/hub.lock

# ---- node: configurable-http-proxy from its lock file ----
FROM ${BUILD_IMAGE} AS node
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates nodejs npm \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/chp
COPY docker/proxy/package.json docker/proxy/package-lock.json docker/proxy/*.cjs docker/proxy/*.mjs ./
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund && npm cache clean --force

# ---- ssh-bundle: an OpenSSH server that runs in workspaces of any image ----
FROM ${BUILD_IMAGE} AS ssh-bundle
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev libnss-wrapper libssl-dev netcat-openbsd openssh-client openssh-server patchelf rsync
# Debian builds the same sshd a second time for its installer: for size, without Kerberos, PAM, SELinux and their libraries.
RUN find /etc/apt/sources.list* -type f -exec sed -i 's, main\b, main main/debian-installer,' {} + \
 && { apt-get update && cd /tmp && apt-get download "openssh-server-udeb=$(dpkg-query -Wf '${Version}' openssh-server)" && dpkg -x openssh-server-udeb_*.udeb /; } \
 || echo 'This mirror has no packages of the installer: the bundle is larger.'
COPY docker/ssh-bundle /build
RUN /build/build

# ---- the image: Debian's nginx, sshd, node and python, and what the stages above made ----
# Programs run under accounts of their own; limited-user is the one that ssh clients name.
# The kernel counts inotify, epoll, keys and signals per number, over all containers: these are numbers that no workspace's
# image uses. 60578-61183 is of nobody: neither Debian (policy 9.2.2) nor systemd (UIDS-GIDS) hands any of them out.
FROM ${BASE_IMAGE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
      ca-certificates libnginx-mod-http-lua libnginx-mod-stream libnginx-mod-stream-js lua-cjson netcat-openbsd nftables nginx-light nodejs openssh-server python3 tini \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* /etc/ssh/ssh_host_* /etc/nginx/sites-enabled \
           /usr/share/doc /usr/share/man /usr/share/locale /usr/share/info /usr/share/icons
RUN add() { name=$1 id=$2; shift 2; groupadd --gid $id $name && useradd --uid $id --gid $name --no-log-init --no-create-home "$@" $name; } \
 && add hub 61000 --home-dir /data --shell /usr/sbin/nologin \
 && add chp 61001 --home-dir /nonexistent --shell /usr/sbin/nologin \
 && add edge 61002 --home-dir /nonexistent --shell /usr/sbin/nologin \
 && add limited-user 61003 --home-dir / --shell /usr/local/lib/mlhub/connect --password '*' \
 && install -d -o hub -g hub -m 0750 /data && install -d -o hub -g hub -m 0755 /run/mlhub /run/sshd
COPY --from=ssh-bundle /.mlhub /.mlhub
COPY docker/bastion /usr/local/lib/mlhub
COPY --from=node /opt/chp /opt/chp
COPY --from=python /opt/mlhub /opt/mlhub
# The documented place of the logo.
RUN mkdir -p /usr/local/share && ln -s /opt/mlhub/share/jupyterhub /usr/local/share/jupyterhub \
 && ln -s /opt/chp/node_modules/.bin/configurable-http-proxy /usr/local/bin/configurable-http-proxy
# The product itself comes late: a change of it rebuilds, and pulls, a few kilobytes.
COPY mlhub /opt/mlhub/lib/python3.13/site-packages/mlhub
COPY mlhubspawner /opt/mlhub/lib/python3.13/site-packages/mlhubspawner
COPY resources /resources
RUN cp /resources/static/mlhub/logo.png /opt/mlhub/share/jupyterhub/static/images/jupyter.png \
 && chmod -R a+rX /resources /usr/local/lib/mlhub /opt/mlhub/lib/python3.13/site-packages/mlhub /opt/mlhub/lib/python3.13/site-packages/mlhubspawner \
 && printf '#!/bin/sh\nexec /opt/mlhub/bin/python -m mlhub.cli "$@"\n' > /usr/local/bin/mlhub \
 && printf '#!/bin/sh\nexec /opt/mlhub/bin/python -m mlhub.cli.packages "$@"\n' > /usr/local/bin/mlhub-pip \
 && chmod 0755 /usr/local/bin/mlhub /usr/local/bin/mlhub-pip \
 && /opt/mlhub/bin/python -m compileall -q --invalidation-mode unchecked-hash \
      /opt/mlhub/lib/python3.13/site-packages/mlhub /opt/mlhub/lib/python3.13/site-packages/mlhubspawner
ENV PATH=/opt/mlhub/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-I", "-m", "mlhub.boot.health"]
ENTRYPOINT ["tini", "-g", "--", "python", "-m", "mlhub.boot"]
# Last, so that a change of them rebuilds nothing.
ARG VERSION=dev
ARG REVISION=unknown
ARG BUILD_DATE=unknown
LABEL org.opencontainers.image.title="MLHub" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${BUILD_DATE}"
